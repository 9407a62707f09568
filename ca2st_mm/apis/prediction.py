# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a recognizer answers: ranked classes, and what they are called."""

import os.path as osp
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ca2st_mm.datasets.benchmarks import (
    BENCHMARKS,
    class_names,
    shipped_names,
)
from ca2st_mm.datasets.faults import NoAudioError
from ca2st_mm.utils.class_names import resolve_class_names, say_sizes

from .stored_config import stored_classes

# The class of a prediction below a threshold.
UNKNOWN = 'unknown'
# (name, probability), best first.
Ranking = tuple[tuple[str, float], ...]
# Class names by task: 'label', or 'verb' and 'noun'.
Names = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Views:
    """The frames and the audio that a model was given.

    Attributes:
        frames: Frame numbers, (num_clips, clip_len), counted from the first
            frame of the span; None without video.
        seconds: When they are shown, on the file's clock, same shape; None
            if unknown.
        audio: Start and end of each stretch of audio that was used, in
            seconds on the file's clock, (num_stretches, 2); None without
            audio.
        has_audio: Whether the source has audio; None if that is unknown,
            because the model does not use audio.

    Example:
        >>> [prediction] = recognizer.predict('clip.mp4')
        >>> prediction.views.frames.shape, prediction.views.has_audio
        ((2, 16), True)
    """

    frames: np.ndarray | None
    seconds: np.ndarray | None
    audio: np.ndarray | None
    has_audio: bool | None

    @classmethod
    def of(cls, results: Mapping[str, Any]) -> 'Views':
        """Read what a pipeline chose off its results before packing."""
        frames = seconds = audio = None
        if 'frame_inds' in results:
            shape = results.get('num_clips', 1), -1
            numbers = np.reshape(results['frame_inds'], shape)
            frames = numbers - results.get('start_index', 0)
            if 'frame_times' in results:
                seconds = results['frame_times'][numbers]
        has_audio, windows = results.get('has_audio'), audio_windows(results)
        if has_audio and windows is not None:
            start = results['audio_start']
            end = start + len(results['waveform']) / results['sample_rate']
            audio = np.clip(np.unique(windows, axis=0), start, end)
        return cls(frames, seconds, audio, has_audio)


def audio_windows(results: Mapping[str, Any]) -> np.ndarray | None:
    """Start and end of the spectrogram of each view, with its padding.

    Seconds on the file's clock, (num_views, 2); None without audio.
    """
    if 'audios_times' not in results:
        return None
    windows = np.asarray(results['audios_times'], np.float64)
    return windows + results.get('time_origin', 0.0)


@dataclass(frozen=True)
class PartAnswer:
    """What a part of a model answers alone.

    Attributes:
        part: 'video alone', 'audio alone' or 'without <expert>'.
        task: ``label``, ``verb`` or ``noun``.
        label: Its best class; None if it cannot answer.
        score: The probability of that class.
        change: Probability of the whole model's best class with the part
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
        ranked: Class names with probabilities, best first, by task:
            ``label``, or ``verb``, ``noun`` and ``action``.
        logits: Float32 (num_views, num_classes) by task, before averaging.
        views: The frames and the audio that were used.
        left_out: Experts that had no part in the answer, because the source
            lacks their input.
        modalities: What parts of the model answer alone, if requested.
        multi_label: Whether classes do not exclude each other, so that their
            probabilities do not add up to 1.
        about: What the config says about the model's answers, if anything.
        latency: Of a stream: seconds from the arrival of the last of the
            window to the answer.

    Example:
        >>> [prediction] = recognizer.predict('clip.mp4')
        >>> len(prediction.ranked['label']), prediction.logits['label'].shape
        (5, (2, 12))
    """

    source: str
    start: float | None
    end: float | None
    ranked: Mapping[str, Ranking]
    logits: Mapping[str, np.ndarray]
    views: Views
    left_out: tuple[str, ...] = ()
    modalities: tuple[PartAnswer, ...] = ()
    multi_label: bool = False
    about: str | None = None
    latency: float | None = None

    @property
    def best(self) -> Ranking:
        """The ranking of actions if there is one, else of the only task."""
        return list(self.ranked.values())[-1]

    def above(self, threshold: float) -> 'Prediction':
        """The same without classes below a probability.

        Where none is left the class is ``unknown``, next to the probability
        of the best one.

        Example:
            >>> [prediction] = recognizer.predict('clip.mp4', top_k=1)
            >>> prediction.above(1.0).best[0][0]
            'unknown'
        """
        ranked = {}
        for task, ranking in self.ranked.items():
            kept = tuple(pair for pair in ranking if pair[1] >= threshold)
            ranked[task] = kept or ((UNKNOWN, ranking[0][1]),)
        return replace(self, ranked=ranked)

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON; all but the logits."""
        record = {k: v for k, v in vars(self).items() if k != 'logits'}
        record['ranked'] = {
            task: [dict(label=label, score=score) for label, score in pairs]
            for task, pairs in self.ranked.items()
        }
        record['views'] = {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in vars(self.views).items()
        }
        record['left_out'] = list(self.left_out)
        record['modalities'] = [dict(vars(part)) for part in self.modalities]
        return record


@dataclass(frozen=True)
class Failure:
    """A source, or a span of it, that could not be predicted.

    Attributes:
        source: The file, or the name of the arrays.
        start: First second of the span; None for the beginning.
        end: Last second of the span; None for the end.
        reason: Why, without the name.
    """

    source: str
    start: float | None
    end: float | None
    reason: str

    @classmethod
    def of(cls, error: Exception, **shown: Any) -> 'Failure':
        """The failure that an error is, of a source and its span."""
        # A fault's message speaks of annotation files; its reason does not.
        reason = getattr(error, 'reason', None) or str(error)
        if isinstance(error, NoAudioError):
            reason = (
                "it has no audio; missing_audio='silence' predicts it with "
                "silence, 'drop' without the audio expert where there are "
                'others'
            )
        return cls(**shown, reason=reason)

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(vars(self))


def audio_note(prediction: Prediction) -> str | None:
    """What was done about missing audio; None where it was not missing."""
    if prediction.views.has_audio is not False:
        return None
    if not prediction.left_out:
        return 'no audio: silence was put in its place'
    experts = ' and '.join(prediction.left_out)
    return f'no audio: predicted without the expert {experts}'


def per_sample(output: Any, count: int) -> dict[str, Tensor]:
    """The output of a head for some samples: (count, views, C) by task."""
    if not isinstance(output, Mapping):
        output = dict(label=output)
    return {
        task: value.reshape(count, -1, value.shape[-1])
        for task, value in output.items()
    }


def unbatched(values: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Tensors (count, ...) by task -> by task, of each sample."""
    rows = zip(*values.values(), strict=True)
    return [dict(zip(values, row, strict=True)) for row in rows]


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

    Example:
        >>> rank(dict(label=torch.tensor([0.25, 0.75])), dict(label='ab'), 1)
        {'label': (('b', 0.75),)}
    """
    scores = {task: score.double().cpu() for task, score in scores.items()}

    def best(scores: Tensor, name: Callable[[int], str]) -> Ranking:
        values, numbers = scores.sort(descending=True, stable=True)
        pairs = zip(numbers[:top_k].tolist(), values.tolist(), strict=False)
        return tuple((name(number), value) for number, value in pairs)

    ranked = {
        task: best(score, names[task].__getitem__)
        for task, score in scores.items()
    }
    if set(scores) == {'verb', 'noun'}:

        def action(pair: int) -> str:
            verb, noun = divmod(pair, len(names['noun']))
            return f'{names["verb"][verb]} {names["noun"][noun]}'

        pairs = torch.outer(scores['verb'], scores['noun']).flatten()
        ranked['action'] = best(pairs, action)
    return ranked


def sizes_of(head: nn.Module) -> dict[str, int]:
    """Number of classes of a head by task: 'label', or 'verb' and 'noun'."""
    return dict(getattr(head, 'sizes', None) or {'label': head.num_classes})


def names_of_model(
    head: nn.Module, stored: Mapping[str, Any], dataset: Mapping[str, Any]
) -> Names:
    """Names of the classes that a head predicts.

    They come from the first of these that has some: the checkpoint, the
    config's own list, the list of the benchmark that the config's
    ``data_root`` names.  Without any, a class is called by its number.

    Args:
        head: The head; ``sizes`` or ``num_classes`` tells how many.
        stored: What the checkpoint holds.
        dataset: The config's test data set.

    Raises:
        ValueError: If there are not as many names as classes, or the
            checkpoint and the config name them differently.
    """
    sizes, root = sizes_of(head), dataset.get('data_root') or ''
    stored = _by_task(stored_classes(stored))
    try:
        listed = _by_task(
            resolve_class_names(dataset.get('classes') or {}, root)
        )
    except FileNotFoundError:  # a list on another machine
        listed = {}
    for task in {**stored, **listed} if stored and listed else ():
        pairs = zip_longest(stored.get(task, ()), listed.get(task, ()))
        for number, (name, other) in enumerate(pairs):
            if name != other:
                raise ValueError(
                    f'class {number} is {name!r} in the checkpoint, {other!r} '
                    'in the config; use the class list that the model was '
                    'trained with'
                )
    names = stored or listed or _names_of_benchmark(root)
    counted = {task: len(of_task) for task, of_task in names.items()}
    if counted == sizes:
        return names
    if stored or listed:
        raise ValueError(
            f'the model has {say_sizes(sizes)}, but there are names for '
            f'{say_sizes(counted)}; use the class list that it was trained '
            'with'
        )
    print_log(
        'The classes have no names, so they are called by their numbers; '
        "set classes='FILE' in the config's test data set.",
        logger='current',
    )
    return {t: tuple(map(str, range(n))) for t, n in sizes.items()}


def _names_of_benchmark(root: str) -> Names:
    folder = osp.basename(osp.normpath(root))
    if folder == 'audioset':  # no benchmark of ours, but AST's head
        return _by_task(shipped_names('audioset.txt'))
    for benchmark in BENCHMARKS.values():
        if benchmark.folder == folder:
            return _by_task(class_names(benchmark))
    return {}


def _by_task(classes: Mapping[str, Sequence] | Sequence[str] | None) -> Names:
    if classes and not isinstance(classes, Mapping):
        classes = dict(label=classes)
    return {task: tuple(names) for task, names in (classes or {}).items()}
