# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Files for the test servers of EPIC-KITCHENS-100 and EPIC-SOUNDS.

Test sets have no public labels; these write predictions and report nothing
but how many.  Neither form has been tried on a server: compare a file with
the challenge's own description before you submit it.
"""

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from ca2st_mm.registry import METRICS
from ca2st_mm.utils.text_files import write_texts

from .clip_metrics import is_readable, scores_of

NUM_ACTIONS = 100


class _Submission(BaseMetric):
    """Collect one entry a clip and write them as JSON.

    A clip is known by the meta key ``clip_id``, else by the name of its file
    without extension.  A clip marked ``unreadable`` (``on_error='skip'``) has
    an entry too, as servers want all of them, made from an empty input.

    Args:
        out_file: The JSON file to write.
        header: Entries of the file next to ``results``, such as the
            supervision levels that only you know (``sls_pt``, ``sls_tl``,
            ``sls_td``); they win over the usual ones of the class.
        collect_device: Where results of several ranks meet.
    """

    default_prefix: str | None = 'submission'
    usual: dict[str, str] = {}

    def __init__(
        self,
        out_file: str,
        header: Mapping[str, Any],
        collect_device: str = 'cpu',
    ) -> None:
        super().__init__(collect_device=collect_device)
        self.out_file = out_file
        self.header = {**self.usual, **header}

    @abstractmethod
    def entry(self, sample: dict) -> dict:
        """What the file says about one clip."""

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the entries of some clips."""
        for sample in data_samples:
            clip = sample.get('clip_id') or PurePath(sample['filename']).stem
            self.results.append(
                (clip, self.entry(sample), is_readable(sample))
            )

    def compute_metrics(self, results: list) -> dict[str, int]:
        """Write the file.

        Returns:
            ``num_clips`` written, ``num_used`` of ``num_expected`` read.

        Raises:
            ValueError: If two clips have the same id.
        """
        entries = {clip: entry for clip, entry, _ in results}
        if len(entries) < len(results):
            ids = [clip for clip, *_ in results]
            twice = next(clip for clip in ids if ids.count(clip) > 1)
            raise ValueError(
                f"Several clips have the id '{twice}': give every clip a file "
                'named by its id (trimmed clips), or pack the meta key '
                'clip_id.'
            )
        record = {**self.header, 'results': entries}
        write_texts({self.out_file: json.dumps(record)})
        used = sum(read for *_, read in results)
        print_log(
            f'{used} of {len(results)} clips used; {len(results) - used} '
            f"could not be read: their entries in '{self.out_file}' mean "
            'nothing.',
            logger='current',
        )
        return dict(
            num_clips=len(entries), num_used=used, num_expected=len(results)
        )


@METRICS.register_module()
class EpicKitchensSubmission(_Submission):
    """Action recognition of EPIC-KITCHENS-100.

    For each clip ``verb`` and ``noun``, class to score, and ``action``,
    'verb,noun' to score for the 100 pairs with the largest product.
    Needs ``VerbNounHead`` with ``average_clips='prob'``.

    Example:
        >>> test_evaluator = dict(
        ...     type='EpicKitchensSubmission', out_file='test.json',
        ...     header=dict(sls_pt=2, sls_tl=3, sls_td=3))
    """

    usual = dict(version='0.2', challenge='action_recognition')

    def entry(self, sample: dict) -> dict:
        """Scores of verbs, nouns and the best actions."""
        verb, noun = (
            scores_of(sample, f'pred_{task}_score')
            for task in ('verb', 'noun')
        )
        pairs = np.outer(verb, noun)
        best = np.argsort(-pairs, axis=None, kind='stable')[:NUM_ACTIONS]
        actions = {
            f'{v},{n}': _short(pairs[v, n])
            for v, n in zip(*np.unravel_index(best, pairs.shape), strict=True)
        }
        return dict(verb=_scores(verb), noun=_scores(noun), action=actions)


@METRICS.register_module()
class EpicSoundsSubmission(_Submission):
    """Audio-based interaction recognition of EPIC-SOUNDS.

    For each clip ``interaction``, class to score.

    Example:
        >>> test_evaluator = dict(
        ...     type='EpicSoundsSubmission', out_file='test.json', header={})
    """

    usual = dict(
        version='0.1', challenge='audio_based_interaction_recognition'
    )

    def entry(self, sample: dict) -> dict:
        """Scores of the audio classes."""
        return dict(interaction=_scores(scores_of(sample)))


def _scores(scores: np.ndarray) -> dict[str, float]:
    return {str(index): _short(score) for index, score in enumerate(scores)}


def _short(score: float) -> float:
    return float(f'{score:.6g}')  # keeps the file small
