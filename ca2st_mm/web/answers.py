# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The answers of the page about a clip, as ``openapi.json`` describes them."""

import base64
import io
import threading
from collections.abc import Sequence
from typing import Any

from ca2st_mm.apis import Prediction, Recognizer
from ca2st_mm.apis.modality_contributions import modalities_of
from ca2st_mm.apis.prediction import Failure, audio_note
from ca2st_mm.apis.windows import windows_of
from ca2st_mm.visualization.attention import Query, draw_attention
from ca2st_mm.visualization.attention_maps import (
    Attention,
    AttentionMap,
    read_attention,
)
from ca2st_mm.visualization.style import FigureInputError

from .uploads import check_clip

_MOST_WINDOWS = 30
_SELF = '_self'
_DPI = 110


class Answers:
    """One model that answers questions about clips.

    Every method takes the path of a clip and raises ``ClipError`` or
    ``SampleFault`` if it cannot be used.  Several threads may ask at once.

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
        # matplotlib shares its fonts.
        self._drawing = threading.Lock()

    def names(self, path: str, top_k: int | None = None) -> dict[str, Any]:
        """The best classes, and the frames and seconds that were used."""
        extent = check_clip(path, self.max_seconds)
        [prediction] = self._recognizer.predict(
            path, top_k=top_k or self._top_k
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

    def timeline(
        self, path: str, window: float | None = None
    ) -> dict[str, Any]:
        """The best class in each window of some seconds, at most 30."""
        extent = check_clip(path, self.max_seconds)
        seconds = extent.end - extent.start
        window = max(window or self._window, seconds / _MOST_WINDOWS)
        windows = list(windows_of(path, window, window))
        if len(windows) == 1:
            note = f'The clip is one window: {window:g} s or less.'
            return dict(note=note)
        spans = []
        for answer in self._recognizer.predict_each(windows):
            span = dict(start=float(answer.start), end=float(answer.end))
            if isinstance(answer, Failure):
                span['reason'] = answer.reason
            else:
                span['label'], span['score'] = answer.best[0]
            spans.append(span)
        return dict(window=window, spans=spans)

    def modalities(self, path: str) -> dict[str, Any]:
        """What each part of the model says of the best class."""
        check_clip(path, self.max_seconds)
        try:
            modalities_of(self._recognizer.model)
        except ValueError as error:
            first, *rest = str(error)
            return dict(note=f'{first.upper()}{"".join(rest)}.')
        sample = self._recognizer.prepare(path)
        if self._recognizer.left_out(sample):
            return dict(note='The clip has no audio: only video counts.')
        [found] = self._recognizer.classify([sample], modalities=True)
        return contribution_bars(found)

    def attention(
        self, path: str, name: str | None = None, layer: int | None = None
    ) -> dict[str, Any]:
        """Attention between experts, drawn for one link and layer.

        Without name or layer, those that attend least evenly.

        Raises:
            FigureInputError: If there is no such attention.
        """
        check_clip(path, self.max_seconds)
        if not hasattr(self._recognizer.model.backbone, 'pairs'):
            return dict(note='The model has no links between experts.')
        found = read_attention(self._recognizer, path)
        # Links first: they are what is particular to these models.
        names = sorted(found.maps, key=lambda name: name.endswith(_SELF))
        shown, png = _find(found, names, name, layer), io.BytesIO()
        with self._drawing:
            figure = draw_attention([shown], found, Query())
            figure.savefig(png, dpi=_DPI, format='png')
        data = base64.b64encode(png.getvalue()).decode()
        return dict(
            choices=[
                dict(
                    name=one,
                    text=found.maps[one][0].title,
                    layers=[layer.layer for layer in found.maps[one]],
                )
                for one in names
            ],
            name=shown.name,
            layer=shown.layer,
            figure=f'data:image/png;base64,{data}',
        )


def contribution_bars(found: Prediction) -> dict[str, Any]:
    """What :meth:`Answers.modalities` gives, of a prediction with parts."""
    tasks: dict[str, dict] = {}
    for answer in found.modalities:
        chosen, whole = found.ranked[answer.task][0]
        if answer.task not in tasks:
            bar = dict(score=whole, best=chosen, best_score=whole)
            bars = [dict(part='whole model', **bar)]
            tasks[answer.task] = dict(chosen=chosen, bars=bars)
        if not answer.unknown:
            bar = dict(
                part=answer.part,
                score=whole + answer.change,
                best=answer.label,
                best_score=answer.score,
            )
            tasks[answer.task]['bars'].append(bar)
    for task in tasks.values():
        named = {bar['part']: bar['best'] for bar in task['bars']}
        task['verdict'] = verdict(task['chosen'], named)
    unknown = {a.part: a.unknown for a in found.modalities if a.unknown}
    return dict(tasks=tasks, unknown=unknown)


def verdict(chosen: str, named: dict[str, str]) -> str:
    """Which modalities alone choose the class of the whole model, in words.

    Args:
        chosen: That class.
        named: The class that each part of the model chooses.

    Example:
        >>> verdict('run', {'video alone': 'run', 'audio alone': 'sing'})
        'Video alone gives this class; audio alone does not.'
    """
    alone = [part for part in named if part.endswith(' alone')]
    agree = [part for part in alone if named[part] == chosen]
    if not agree:
        return 'No modality alone gives this class; all together do.'
    said = [f'{agree[0].capitalize()} gives this class']
    said += [f'so does {part}' for part in agree[1:]]
    said += [f'{part} does not' for part in alone if part not in agree]
    return f'{"; ".join(said)}.'


def _find(
    found: Attention, names: Sequence[str], name: str | None, layer: int | None
) -> AttentionMap:
    if name not in (None, *names):
        raise FigureInputError(
            f'there is no attention {name!r}; it is one of {", ".join(names)}'
        )
    links = [one for one in names if not one.endswith(_SELF)] or names
    maps = [m for one in ([name] if name else links) for m in found.maps[one]]
    fitting = [one for one in maps if layer in (None, one.layer)]
    if not fitting:
        layers = sorted({one.layer for one in maps})
        raise FigureInputError(
            f'there is no layer {layer}; the layers are '
            f'{", ".join(map(str, layers))}'
        )
    return max(fitting, key=lambda one: one.relative().max().item())
