# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the page says of a clip, as plain values for JSON."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ca2st_mm.apis import Recognizer
from ca2st_mm.apis.many import Failure, predict_each
from ca2st_mm.apis.modality import which_sense
from ca2st_mm.apis.model_parts import parts_of
from ca2st_mm.apis.windows import Windows
from ca2st_mm.datasets.containers import has_audio
from ca2st_mm.visualization.attention import read_attention

from .attention_view import Choice, attention_view
from .clips import check_clip
from .deaf import WithoutSound
from .senses import sense_bars

_MOST_WINDOWS = 30
_NO_SOUND = dict(
    silence='The clip has no sound: the model heard silence.',
    drop='The clip has no sound: the model went without its audio expert.',
)
_DEAF = 'The clip has no sound: the answer is from the picture alone.'


class Answers:
    """One model that answers one question at a time.

    Every method takes the path of a clip and raises ``ClipError`` or
    ``SampleFault`` if it cannot be used.

    Args:
        recognizer: The model.
        max_seconds: How long a clip may last.
        window: Seconds of a window of the time line, at least.
        top_k: How many names to give.
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
        self._deaf = WithoutSound(recognizer)
        # Asking parts of a model changes it for a moment.
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
        with self._asked(path) as recognizer:
            [prediction] = recognizer.predict(path, top_k=self._top_k)
        record = prediction.as_record()
        notes = []
        if self._without_sound(path):
            notes = [_DEAF]
        elif prediction.views.has_sound is False:
            notes = [_NO_SOUND[recognizer.pipeline.missing_sound]]
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
        with self._asked(path) as recognizer:
            spans = [
                _span(answer) for answer in predict_each(recognizer, windows)
            ]
        return dict(window=window, spans=spans)

    def senses(self, path: str) -> dict[str, Any]:
        """Which sense decided.

        Args:
            path: The clip.

        Returns:
            That of :func:`sense_bars`, or a ``note`` why there is none.
        """
        check_clip(path, self.max_seconds)
        try:
            parts_of(self._recognizer.model)
        except ValueError as error:
            return dict(note=f'{error}.'.capitalize())
        if self._without_sound(path):
            return dict(note='There is no sound: the picture decided.')
        with self._asked(path) as recognizer:
            sample = recognizer.prepare(path)
            found = which_sense(recognizer, sample)
        return sense_bars(found, recognizer.class_names)

    def attention(
        self, path: str, name: str | None = None, layer: int | None = None
    ) -> dict[str, Any]:
        """Who looks at whom, drawn for one link and layer.

        Args:
            path: The clip.
            name: Which attention, e.g. ``spatial_from_audio``; None for the
                link that looks least evenly.
            layer: Which layer, from 0; None for the one that looks least
                evenly.

        Returns:
            That of :func:`attention_view`, or a ``note`` why there is none.
        """
        check_clip(path, self.max_seconds)
        if not hasattr(self._recognizer.model.backbone, 'pairs'):
            return dict(note='The model has no links between experts.')
        with self._asked(path) as recognizer:
            found = read_attention(recognizer, path)
        return attention_view(found, Choice(name, layer))

    def _without_sound(self, path: str) -> bool:
        return self._deaf.possible and not has_audio(path)

    @contextmanager
    def _asked(self, path: str) -> Iterator[Recognizer]:
        """The model for a clip, for one asker alone."""
        with self._lock:
            if self._without_sound(path):
                with self._deaf.recognizer() as recognizer:
                    yield recognizer
            else:
                yield self._recognizer


def _span(answer: Any) -> dict[str, Any]:
    shown = dict(start=float(answer.start), end=float(answer.end))
    if isinstance(answer, Failure):
        return dict(shown, reason=answer.reason)
    # The action stands last and says verb and noun.
    [(label, score), *_] = list(answer.ranked.values())[-1]
    return dict(shown, label=label, score=score)
