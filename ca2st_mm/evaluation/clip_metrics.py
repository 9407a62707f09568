# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Metrics over clips: each clip counts once, unreadable ones not at all."""

import csv
import logging
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.fileio import get_text
from mmengine.logging import print_log
from torch import Tensor

from ca2st_mm.registry import METRICS

from .accuracy import label_ranks, mean_ap_and_auc, mean_class_accuracy, top_k

Listed = str | Sequence | None
# What is reported of the clips of some participants, too.
_OF_UNSEEN = ('top1', 'mean1', 'verb_top1', 'noun_top1', 'action_top1')


def is_readable(sample: Mapping[str, Any]) -> bool:
    """Whether a prediction does not stand for an unreadable file.

    With ``on_error='skip'`` such a clip keeps its place in a test, with empty
    inputs and the reason under ``unreadable``; so it is in a dump.
    """
    return not sample.get('unreadable')


def scores_of(
    sample: Mapping[str, Any], key: str = 'pred_score'
) -> np.ndarray:
    """The scores of a clip, (num_classes,), float64.

    Views that the head has not averaged (``average_clips=None``, scores of
    shape (num_views, num_classes)) are averaged here.

    Args:
        sample: A prediction.
        key: Its entry.

    Raises:
        KeyError: If the prediction has no such scores.

    Example:
        >>> scores_of(dict(pred_score=[[0.0, 1.0], [0.5, 0.5]])).tolist()
        [0.25, 0.75]
    """
    if key not in sample:
        raise KeyError(
            f"A prediction has no '{key}', only {sorted(sample)}: "
            'VerbNounMetric and EpicKitchensMetric are for VerbNounHead, the '
            'others for heads with one classifier.'
        )
    scores = sample[key]
    if isinstance(scores, Tensor):
        scores = scores.detach().double().cpu().numpy()
    scores = np.asarray(scores, dtype=np.float64)
    return scores.reshape(-1, scores.shape[-1]).mean(axis=0)


def participant_of(filename: str) -> str:
    """The participant with which a file name begins, such as 'P01'.

    Raises:
        ValueError: If it does not.
    """
    name = PurePath(filename).name
    found = re.match(r'(P\d+)[_-]', name)
    if not found:
        raise ValueError(
            f"The file name '{name}' does not begin with a participant such "
            "as 'P01_'; name clips by their narration id, or leave out "
            'unseen_participants.'
        )
    return found[1]


def read_list(listed: Listed, column: str) -> set[str] | None:
    """The values as text, from a sequence or a column of a CSV.

    Raises:
        FileNotFoundError: If the CSV is not there.
        ValueError: If it has no such column.
    """
    if listed is None:
        return None
    if not isinstance(listed, str):
        return {str(value) for value in listed}
    try:
        lines = get_text(listed).splitlines()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"There is no list '{listed}' of the metric's subset: it is part "
            'of the annotations of EPIC-KITCHENS-100; put it there, or set '
            'the entry of the evaluator to None to do without the numbers.'
        ) from error
    rows = list(csv.DictReader(lines))
    if not rows or column not in rows[0]:
        raise ValueError(
            f"The list '{listed}' has no column '{column}'; take the file "
            'from the annotations of EPIC-KITCHENS-100.'
        )
    return {row[column].strip() for row in rows}


class ClipMetric(BaseMetric):
    """What our metrics share; subclasses say what they keep and compute.

    Clips marked ``unreadable`` take no part; if there are any, ``num_used``
    and ``num_expected`` are reported.  ``with_audio`` is the fraction of clips
    with audio, where the pipeline packs the meta key ``has_audio``.  Clips
    that are listed twice and a single class are warned about.

    Args:
        topk: The values of k.
        collect_device: Where results of several ranks meet.
        prefix: Prefix of the names of the numbers.
        unseen_participants: Ids, or a CSV with the column ``participant_id``
            such as that of EPIC-KITCHENS-100, whose clips give ``unseen_...``
            numbers, too.  Needs the meta key ``filename``; names begin with
            the participant (``P01_11_0.mp4``).

    Raises:
        FileNotFoundError: If the list is not there.
        ValueError: If it has no such column.
    """

    default_prefix: str | None = 'acc'

    def __init__(
        self,
        topk: tuple[int, ...] = (1, 5),
        collect_device: str = 'cpu',
        prefix: str | None = None,
        unseen_participants: Listed = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.topk = topk
        self.unseen = read_list(unseen_participants, 'participant_id')

    @abstractmethod
    def keep(self, sample: dict, label: Tensor) -> dict[str, Any]:
        """Scores by name, and what else :meth:`numbers` needs of a clip."""

    @abstractmethod
    def numbers(self, results: list[dict]) -> dict[str, float]:
        """The numbers of all readable clips."""

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep one result a clip.

        Raises:
            KeyError: If a prediction has no scores of this kind.
            ValueError: If a clip has no label, or one of another kind.
        """
        for sample in data_samples:
            result = None  # processes drop repeated clips by their place
            if is_readable(sample):
                label = sample.get('gt_label')
                if label is None:
                    raise ValueError(
                        f'{type(self).__name__} needs labels, but the clip '
                        f"'{sample.get('filename', 'unknown')}' has none: for "
                        'a test set without public labels let test_evaluator '
                        'be EpicKitchensSubmission or EpicSoundsSubmission, '
                        'which write predictions alone.'
                    )
                result = dict(
                    self.keep(sample, label),
                    labels=label.tolist(),
                    clip=sample.get('clip_id') or sample.get('filename'),
                    has_audio=sample.get('has_audio'),
                )
                if self.unseen is not None:
                    name = participant_of(sample['filename'])
                    result['unseen'] = name in self.unseen
            self.results.append(result)

    def compute_metrics(self, results: list[dict | None]) -> dict[str, float]:
        """All numbers from all clips.

        Raises:
            ValueError: If no clip could be read.
        """
        used = [result for result in results if result is not None]
        counts = report_unreadable(len(used), len(results))
        _warn_of_repeated_clips(used)
        if any(len(scores) == 1 for scores in _scores_in(used[0])):
            print_log(
                'The model has a single class, so every answer is right.',
                logger='current',
                level=logging.WARNING,
            )
        metrics = {**self.numbers(used), 'num_clips': len(used), **counts}
        audio = [r['has_audio'] for r in used if r['has_audio'] is not None]
        if audio:
            metrics['with_audio'] = float(np.mean(audio))
        if self.unseen is not None:
            some = [r for r in used if r['unseen']]
            metrics['unseen_num_clips'] = len(some)
            found = self.numbers(some) if some else {}
            for name in _OF_UNSEEN:
                if name in found:
                    metrics[f'unseen_{name}'] = found[name]
        return metrics


def report_unreadable(used: int, expected: int) -> dict[str, int]:
    """Log how many clips the numbers stand on, if some are left out.

    Returns:
        ``num_used`` and ``num_expected``; nothing if both are equal.

    Raises:
        ValueError: If no clip could be read.
    """
    if used == expected:
        return {}
    if not used:
        raise ValueError(
            f'None of the {expected} clips could be read: look into the '
            'quarantine file of the dataset.'
        )
    print_log(
        f'{used} of {expected} clips used; {expected - used} could not be '
        'read.',
        logger='current',
    )
    return dict(num_used=used, num_expected=expected)


def _scores_in(result: dict) -> list[np.ndarray]:
    return [x for x in result.values() if isinstance(x, np.ndarray)]


def _warn_of_repeated_clips(results: list[dict]) -> None:
    """Clips of one file have one name, but not the same scores."""
    found: dict[tuple, list] = {}
    for result in results:
        if result['clip'] is not None:
            scores = [x.tobytes() for x in _scores_in(result)]
            clip = result['clip'], *scores
            found.setdefault(clip, []).append(str(result['labels']))
    repeated = {c: labels for c, labels in found.items() if len(labels) > 1}
    if not repeated:
        return
    other = [c for c, labels in repeated.items() if len(set(labels)) > 1]
    (name, *_), *_ = other or repeated
    print_log(
        f'{len(repeated)} clips are listed more than once and count as often'
        + (f', {len(other)} of them with different labels' if other else '')
        + f' (for example {name}): correct the annotation file.',
        logger='current',
        level=logging.WARNING,
    )


@METRICS.register_module(name=['ClipAccMetric', 'AudioVisualAccMetric'])
class ClipAccMetric(ClipMetric):
    """Top-k and mean class accuracy of clips with one label each.

    Reports ``top<k>``, ``mean1`` (top-1 averaged over classes), ``num_clips``,
    and, where the pipeline packs the meta key ``has_audio``, ``with_audio``,
    the fraction of clips with audio; if there are clips of both kinds,
    ``top1_with_audio`` and ``top1_without_audio``, too.  Takes the arguments
    of ``ClipMetric``.

    Differs from MMAction2's ``AccMetric`` where a number depends on it: a
    class without a clip takes no part in the mean over classes (there it
    counts as 0 once it is predicted), ties go to the lower class, and scores
    that are not finite are an error.

    ActivityNet: the authors' code merges predictions by video, so the
    instances of a video count once, with the span of the last one.  Here
    every instance counts, so the two numbers differ.

    Example:
        >>> import torch
        >>> metric = ClipAccMetric(topk=(1,))
        >>> metric.process(None, [dict(
        ...     pred_score=torch.tensor([0.2, 0.8]),
        ...     gt_label=torch.tensor([1]))])
        >>> metric.evaluate(1)['acc/top1']
        1.0
    """

    def keep(self, sample: dict, label: Tensor) -> dict[str, Any]:
        """Scores and label."""
        if label.numel() != 1:
            raise ValueError(
                f'{type(self).__name__} takes one class a clip, got the '
                f'label {label.tolist()}; VerbNounMetric takes a verb and a '
                'noun.'
            )
        return dict(scores=scores_of(sample), label=label.item())

    def numbers(self, results: list[dict]) -> dict[str, float]:
        """Top-k and mean over classes, and top-1 by presence of audio."""
        scores, labels = _arrays(results)
        ranks = label_ranks(scores, labels)
        metrics = {f'top{k}': top_k(ranks, k) for k in self.topk}
        metrics['mean1'] = mean_class_accuracy(ranks, labels)
        audio = [r['has_audio'] for r in results]
        if {True, False} <= set(audio):
            for name, has in (('with_audio', True), ('without_audio', False)):
                here = np.array([one == has for one in audio])
                metrics[f'top1_{name}'] = top_k(ranks[here], 1)
        return metrics


# The name of the first release.
AudioVisualAccMetric = ClipAccMetric


@METRICS.register_module()
class SoundEventMetric(ClipAccMetric):
    """The numbers reported for EPIC-SOUNDS.

    To those of ``ClipAccMetric`` (``mean1`` is EPIC-SOUNDS' mean per class
    accuracy) it adds ``mAP`` and ``mAUC``, each averaged over the classes
    that occur; see :func:`mean_ap_and_auc`.

    Source: Huh et al., EPIC-SOUNDS, ICASSP 2023.

    Example:
        >>> metric = SoundEventMetric(unseen_participants=['P18', 'P32'])
    """

    def numbers(self, results: list[dict]) -> dict[str, float]:
        """Those of ``ClipAccMetric``, mAP and mAUC."""
        metrics = super().numbers(results)
        metrics['mAP'], metrics['mAUC'] = mean_ap_and_auc(*_arrays(results))
        return metrics


def _arrays(results: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Scores (num_clips, num_classes) and labels (num_clips,)."""
    return (
        np.stack([r['scores'] for r in results]),
        np.array([r['label'] for r in results]),
    )


@METRICS.register_module()
class ReadableClips(BaseMetric):
    """A metric of MMAction2 on the clips without the mark ``unreadable``.

    For sets with ``on_error='skip'`` in evaluation; the metrics of this
    package leave such clips out by themselves.  Reports besides the numbers
    of the metric ``num_used`` and ``num_expected``.

    Args:
        metric: Config of the metric; one that looks at predictions alone,
            not at the batch of inputs.

    Example:
        >>> import torch
        >>> metric = ReadableClips(dict(type='AccMetric'))
        >>> clip = dict(pred_score=torch.tensor([0.2, 0.8]),
        ...             gt_label=torch.tensor([1]))
        >>> metric.process(None, [clip, dict(clip, unreadable='corrupted')])
        >>> metric.evaluate(2)['acc/num_used']
        1
    """

    def __init__(self, metric: dict) -> None:
        self.metric = METRICS.build(metric)
        super().__init__(
            collect_device=self.metric.collect_device,
            prefix=self.metric.prefix,
            collect_dir=self.metric.collect_dir,
        )

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what the metric keeps of each clip; nothing of a marked one."""
        self.metric.dataset_meta = self.dataset_meta
        for sample in data_samples:
            # One result a clip: processes drop repeated ones by their place.
            self.metric.results = []
            if is_readable(sample):
                self.metric.process(data_batch, [sample])
            self.results.append(self.metric.results)

    def compute_metrics(self, results: list[list]) -> dict[str, float]:
        """The numbers of the metric, and how many clips they stand on.

        Raises:
            ValueError: If no clip could be read.
        """
        used = [kept for kept in results if kept]
        report_unreadable(len(used), len(results))
        metrics = self.metric.compute_metrics(
            [r for kept in used for r in kept]
        )
        return dict(metrics, num_used=len(used), num_expected=len(results))
