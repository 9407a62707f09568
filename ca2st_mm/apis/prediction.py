# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a recognizer answers, and what it looked at for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

# (name, probability), best first.
Ranking = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Views:
    """The frames and the sound that a model was given.

    Attributes:
        frames: Frame numbers, (num_clips, clip_len), counted from the first
            frame of the span; None without pictures.
        seconds: When they are shown, on the file's clock, same shape; None
            if unknown.
        sound: Start and end of each stretch of sound that was heard, in
            seconds on the file's clock, (num_stretches, 2); None without
            sound.
        has_sound: Whether the source has sound; None if nobody looked,
            because the model does not listen.
    """

    frames: np.ndarray | None
    seconds: np.ndarray | None
    sound: np.ndarray | None
    has_sound: bool | None


@dataclass(frozen=True)
class SenseAnswer:
    """What a part of the model answers alone.

    Attributes:
        part: 'sound alone', 'picture alone' or 'without <expert>'.
        task: ``label``, ``verb`` or ``noun``.
        label: Its best name; None if it cannot answer.
        score: The probability of that name.
        change: Probability of the whole model's best name with the part
            alone, minus the one with the whole model.
        unknown: Why it cannot answer; None if it can.
    """

    part: str
    task: str
    label: str | None = None
    score: float | None = None
    change: float | None = None
    unknown: str | None = None


@dataclass(frozen=True)
class Prediction:
    """The answer for one source, or for one span of it.

    Attributes:
        source: The file, or the name of the arrays.
        start: First second of the span; None for the beginning.
        end: Last second of the span; None for the end.
        ranked: Names with probabilities, best first, by task: ``label``, or
            ``verb``, ``noun`` and ``action``.
        logits: Float32 (num_views, num_classes) by task, before averaging.
        views: What was looked at and listened to.
        senses: What parts of the model answer alone, if they were asked.
    """

    source: str
    start: float | None
    end: float | None
    ranked: Mapping[str, Ranking]
    logits: Mapping[str, np.ndarray]
    views: Views
    senses: tuple[SenseAnswer, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON; all but the logits."""
        views = {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in vars(self.views).items()
        }
        ranked = {
            task: [dict(label=label, score=score) for label, score in pairs]
            for task, pairs in self.ranked.items()
        }
        return dict(
            source=self.source,
            start=self.start,
            end=self.end,
            ranked=ranked,
            views=views,
            senses=[dict(vars(answer)) for answer in self.senses],
        )


def views_of(results: Mapping[str, Any]) -> Views:
    """Note what a pipeline chose.

    Args:
        results: The sample before it is packed.
    """
    frames = seconds = sound = None
    if 'frame_inds' in results:
        shape = results.get('num_clips', 1), -1
        numbers = np.reshape(results['frame_inds'], shape)
        frames = numbers - results.get('start_index', 0)
        if 'frame_stamps' in results:
            seconds = results['frame_stamps'][numbers]
    has_sound = results.get('has_audio')
    if has_sound and 'audios_times' in results:
        sound = _heard(results)
    return Views(frames, seconds, sound, has_sound)


def _heard(results: Mapping[str, Any]) -> np.ndarray:
    """The windows of the spectrograms, without their padding."""
    windows = np.asarray(results['audios_times'], np.float64)
    windows = np.unique(windows, axis=0) + results.get('time_origin', 0.0)
    start = results['audio_start']
    end = start + len(results['waveform']) / results['sample_rate']
    return np.clip(windows, start, end)


def rank(
    scores: Mapping[str, Tensor],
    names: Mapping[str, Sequence[str]],
    top_k: int,
) -> dict[str, Ranking]:
    """Sort the classes of one sample by probability.

    A verb and a noun make an action, whose score is the product of theirs,
    as EPIC-KITCHENS ranks actions.

    Args:
        scores: Probabilities (num_classes,) by task.
        names: Class names by task.
        top_k: How many to give, of each task.
    """
    scores = {task: score.double().cpu() for task, score in scores.items()}
    ranked = {
        task: _best(score, names[task].__getitem__, top_k)
        for task, score in scores.items()
    }
    if set(scores) == {'verb', 'noun'}:
        verbs, nouns = names['verb'], names['noun']

        def action(pair: int) -> str:
            verb, noun = divmod(pair, len(nouns))
            return f'{verbs[verb]} {nouns[noun]}'

        pairs = torch.outer(scores['verb'], scores['noun']).flatten()
        ranked['action'] = _best(pairs, action, top_k)
    return ranked


def _best(scores: Tensor, name: Any, top_k: int) -> Ranking:
    found = scores.sort(descending=True, stable=True)
    values, numbers = found.values[:top_k], found.indices[:top_k]
    return tuple(
        (name(number), value)
        for number, value in zip(
            numbers.tolist(), values.tolist(), strict=True
        )
    )
