# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The answers of the page about a clip, as plain values for JSON."""

import base64
import io
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ca2st_mm.apis import ModalityContributions, Recognizer
from ca2st_mm.apis.many_files import predict_each
from ca2st_mm.apis.modality_contributions import (
    modality_contributions,
    parts_of,
)
from ca2st_mm.apis.prediction import Failure, Prediction
from ca2st_mm.apis.prediction_tables import audio_note
from ca2st_mm.apis.windows import Windows
from ca2st_mm.visualization.attention import draw_attention
from ca2st_mm.visualization.attention_maps import (
    Attention,
    AttentionMap,
    Query,
    read_attention,
)
from ca2st_mm.visualization.style import FigureInputError

from .uploads import check_clip

_MOST_WINDOWS = 30
_ALONE = ' alone'
_SELF = '_self'
_DPI = 110


class Answers:
    """One model that answers questions about clips.

    Every method takes the path of a clip and raises ``ClipError`` or
    ``SampleFault`` if it cannot be used.  Someone who tries a clip without
    audio wants an answer: where the config refuses such clips, the experts
    that read audio are left out, and a note says so.

    Args:
        recognizer: The model.
        max_seconds: How long a clip may last.
        window: Seconds of a window of the time line, at least.
        top_k: How many classes to give.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        max_seconds: float = 600.0,
        window: float = 2.0,
        top_k: int = 5,
    ) -> None:
        self.max_seconds = max_seconds
        self._recognizer, self._top_k = recognizer, top_k
        self._window = window
        self._missing_audio = None
        refused = recognizer.pipeline.missing_audio == 'raise'
        if refused and not recognizer.why_not_drop():
            self._missing_audio = 'drop'
        # One question at a time: the memory of one clip, not of many.
        self._lock = threading.Lock()

    def names(self, path: str) -> dict[str, Any]:
        """The best classes, and the frames and seconds that were used.

        Args:
            path: The clip.

        Returns:
            ``ranked`` and ``views`` as ``Prediction.as_record`` has them,
            ``start`` and ``end`` of the file, and ``notes``.
        """
        extent = check_clip(path, self.max_seconds)
        with self._lock:
            [prediction] = self._recognizer.predict(
                path, top_k=self._top_k, missing_audio=self._missing_audio
            )
        record = prediction.as_record()
        notes = [prediction.about] if prediction.about else []
        if note := audio_note(prediction):
            notes.append(f'{note.capitalize()}.')
        return dict(
            ranked=record['ranked'],
            views=record['views'],
            start=float(extent.start),
            end=float(extent.end),
            notes=notes,
        )

    def timeline(self, path: str) -> dict[str, Any]:
        """The best class in each window of the clip.

        Args:
            path: The clip.

        Returns:
            ``window`` in seconds, and ``spans``: ``start``, ``end``, and
            ``label`` and ``score``, or the ``reason`` why not.
        """
        extent = check_clip(path, self.max_seconds)
        seconds = extent.end - extent.start
        window = max(self._window, seconds / _MOST_WINDOWS)
        windows = Windows(path, window, window)
        if len(windows) == 1:
            note = f'The clip is one window: {window:g} s or less.'
            return dict(note=note)
        with self._lock:
            answers = predict_each(
                self._recognizer, windows, missing_audio=self._missing_audio
            )
            spans = [_span(answer) for answer in answers]
        return dict(window=window, spans=spans)

    def modalities(self, path: str) -> dict[str, Any]:
        """What each part of the model says.

        Args:
            path: The clip.

        Returns:
            That of :func:`contribution_bars`, or a ``note`` why there is
            none.
        """
        check_clip(path, self.max_seconds)
        try:
            parts_of(self._recognizer.model)
        except ValueError as error:
            return dict(note=f'{error}.'.capitalize())
        with self._lock:
            sample = self._recognizer.prepare(
                path, missing_audio=self._missing_audio
            )
            if self._recognizer.left_out(sample):
                return dict(note='The clip has no audio: only video counts.')
            found = modality_contributions(self._recognizer, sample)
        return contribution_bars(found, self._recognizer.class_names)

    def attention(
        self, path: str, name: str | None = None, layer: int | None = None
    ) -> dict[str, Any]:
        """Attention between experts, drawn for one link and layer.

        Args:
            path: The clip.
            name: Which attention, e.g. ``spatial_from_audio``; None for the
                link that attends least evenly.
            layer: Which layer, from 0; None for the one that attends least
                evenly.

        Returns:
            ``choices`` (``name``, ``text`` and ``layers`` of each), the
            ``name`` and ``layer`` that is shown, and ``figure``, a PNG as a
            ``data:`` URL; or a ``note`` why there is none.

        Raises:
            FigureInputError: If there is no such attention.
        """
        check_clip(path, self.max_seconds)
        if not hasattr(self._recognizer.model.backbone, 'pairs'):
            return dict(note='The model has no links between experts.')
        with self._lock:
            found = read_attention(
                self._recognizer, path, missing_audio=self._missing_audio
            )
            # Links first: they are what is particular to these models.
            names = sorted(found.maps, key=lambda name: name.endswith(_SELF))
            shown = _find(found, names, name, layer)
            figure = draw_attention([shown], found, Query())
            png = io.BytesIO()
            figure.savefig(png, dpi=_DPI, format='png')
        data = base64.b64encode(png.getvalue()).decode()
        return dict(
            choices=[_choice(one, found.maps[one]) for one in names],
            name=shown.name,
            layer=shown.layer,
            figure=f'data:image/png;base64,{data}',
        )


def _span(answer: Prediction | Failure) -> dict[str, Any]:
    shown = dict(start=float(answer.start), end=float(answer.end))
    if isinstance(answer, Failure):
        return dict(shown, reason=answer.reason)
    # The action comes last and names verb and noun.
    [(label, score), *_] = list(answer.ranked.values())[-1]
    return dict(shown, label=label, score=score)


def contribution_bars(
    found: ModalityContributions, names: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Bars for the whole model and for each part of it.

    Args:
        found: The scores.
        names: Class names by task.

    Returns:
        ``tasks``, by task: ``chosen`` (the class that the whole model
        chooses), ``verdict`` (a sentence) and ``bars``: ``part``, ``score``
        (of the chosen class), and the ``best`` class of the part with its
        ``best_score``.  And ``unknown``: reason by part.
    """
    tasks = {}
    for task, whole in found.whole.items():
        chosen = int(whole.argmax())
        bars = []
        parts = {'whole model': found.whole, **found.parts}
        for part, scores in parts.items():
            best = int(scores[task].argmax())
            bars.append(
                dict(
                    part=part,
                    score=scores[task][chosen].item(),
                    best=names[task][best],
                    best_score=scores[task][best].item(),
                )
            )
        label = names[task][chosen]
        tasks[task] = dict(
            chosen=label, verdict=verdict(label, bars), bars=bars
        )
    return dict(tasks=tasks, unknown=dict(found.unknown))


def verdict(chosen: str, bars: Sequence[Mapping[str, Any]]) -> str:
    """Which modalities alone choose the class of the whole model, in words.

    Args:
        chosen: That class.
        bars: Of :func:`contribution_bars`.
    """
    alone = [bar for bar in bars if bar['part'].endswith(_ALONE)]
    agree = [bar['part'] for bar in alone if bar['best'] == chosen]
    differ = [bar['part'] for bar in alone if bar['best'] != chosen]
    if not agree:
        return 'No modality alone gives this class; all together do.'
    first, *others = agree
    said = [f'{first.capitalize()} gives this class']
    said += [f'so does {part}' for part in others]
    said += [f'{part} does not' for part in differ]
    return f'{"; ".join(said)}.'


def _find(
    found: Attention, names: list[str], name: str | None, layer: int | None
) -> AttentionMap:
    if name not in (None, *names):
        raise FigureInputError(
            f'there is no attention {name!r}; it is one of {", ".join(names)}'
        )
    links = [one for one in names if not one.endswith(_SELF)]
    maps = [
        one
        for chosen in ([name] if name else links or names)
        for one in found.maps[chosen]
    ]
    fitting = [one for one in maps if layer in (None, one.layer)]
    if not fitting:
        raise FigureInputError(
            f'there is no layer {layer}; the layers are '
            f'{", ".join(str(one.layer) for one in maps)}'
        )
    return max(fitting, key=lambda one: one.heat().max().item())


def _choice(name: str, maps: list[AttentionMap]) -> dict[str, Any]:
    first = maps[0]
    key = 'itself' if first.query == first.key else first.key
    return dict(
        name=name,
        text=f'{first.query} attends to {key}',
        layers=[one.layer for one in maps],
    )
