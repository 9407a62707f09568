# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The numbers of a table about EPIC-KITCHENS-100."""

import csv
import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from mmengine.fileio import get_text

from ca2st_mm.registry import METRICS

from .accuracy import harmonic_mean, label_ranks, top_k
from .verb_noun_metric import VerbNounMetric

Listed = str | Sequence | None


@METRICS.register_module()
class EpicKitchensMetric(VerbNounMetric):
    """``VerbNounMetric`` plus the columns of EPIC-KITCHENS-100.

    Further numbers, each only where its list is given:

    - ``action_product_top<k>``: actions ranked by the product of verb and
      noun probability over all pairs, as the challenge does; top-1 is that
      of the authors' rule, top-5 is stricter than theirs (``action_top5``);
    - ``harmonic_verb_noun``: harmonic mean of both top-1;
    - ``unseen_{verb,noun,action}_top1`` and ``unseen_num_clips``: clips of
      participants absent from training;
    - ``tail_{verb,noun,action}_top1`` and ``tail_{...}_num_clips``: clips
      whose verb is a tail class, whose noun is one, and whose action has
      either.  Whether the challenge's script averages over clips, as here,
      or over classes is not verified.

    Needs ``average_clips='prob'`` in the head and, for unseen participants,
    the meta key ``filename``: names begin with participant and underscore
    (``P01_11_0.mp4``).

    Args:
        unseen_participants: Ids, or the challenge's CSV with the column
            ``participant_id``.
        tail_verbs: Class indices, or the CSV with the column ``verb``.
        tail_nouns: Class indices, or the CSV with the column ``noun``.
        topk: The values of k.
        collect_device: Where results of several ranks meet.
        prefix: Prefix of the names of the numbers.

    Raises:
        FileNotFoundError: If a list is not there.
        ValueError: If a list has no such column.
    """

    def __init__(
        self,
        unseen_participants: Listed = None,
        tail_verbs: Listed = None,
        tail_nouns: Listed = None,
        topk: tuple[int, ...] = (1, 5),
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(topk, collect_device, prefix)
        self.unseen = _read_list(unseen_participants, 'participant_id')
        self.tail = dict(
            verb=_read_list(tail_verbs, 'verb'),
            noun=_read_list(tail_nouns, 'noun'),
        )

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep ranks, and to which subsets a clip belongs.

        Args:
            data_batch: Unused.
            data_samples: Predictions, see the class docstring.

        Raises:
            ValueError: If scores are not probabilities or a file name does
                not tell the participant.
        """
        before = len(self.results)
        super().process(data_batch, data_samples)
        for result, sample in zip(
            self.results[before:], data_samples, strict=True
        ):
            result['product'] = _product_rank(sample)
            if self.unseen is not None:
                who = participant_of(sample['filename'])
                result['unseen'] = who in self.unseen
            labels = sample['gt_label'].tolist()
            for task, label in zip(('verb', 'noun'), labels, strict=True):
                tail = self.tail[task]
                result[f'tail_{task}'] = bool(tail) and str(label) in tail

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """All numbers from all clips.

        Args:
            results: What ``process`` kept.
        """
        metrics = super().compute_metrics(results)
        product = [r['product'] for r in results]
        for k in self.topk:
            metrics[f'action_product_top{k}'] = top_k(product, k)
        verb, noun = (
            top_k([r[task] for r in results], 1) for task in ('verb', 'noun')
        )
        metrics['harmonic_verb_noun'] = harmonic_mean((verb, noun))
        if self.unseen is not None:
            metrics.update(_unseen_numbers(results))
        if None not in self.tail.values():
            metrics.update(_tail_numbers(results))
        return metrics


def participant_of(filename: str) -> str:
    """The participant in the name of a clip or video, such as 'P01'.

    Args:
        filename: Path whose last part begins with it.

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


def _unseen_numbers(results: list[dict]) -> dict[str, float]:
    """Top-1 on clips of unseen participants."""
    some = [r for r in results if r['unseen']]
    metrics = {'unseen_num_clips': len(some)}
    for task in ('verb', 'noun', 'action') if some else ():
        metrics[f'unseen_{task}_top1'] = top_k(_ranks(some, task), 1)
    return metrics


def _tail_numbers(results: list[dict]) -> dict[str, float]:
    """Top-1 on clips of rare classes."""
    metrics = {}
    subsets = dict(
        verb=[r for r in results if r['tail_verb']],
        noun=[r for r in results if r['tail_noun']],
        action=[r for r in results if r['tail_verb'] or r['tail_noun']],
    )
    for task, some in subsets.items():
        metrics[f'tail_{task}_num_clips'] = len(some)
        if some:
            metrics[f'tail_{task}_top1'] = top_k(_ranks(some, task), 1)
    return metrics


def _ranks(results: list[dict], task: str) -> np.ndarray:
    """Ranks of a task; an action is as good as its worse part."""
    parts = ('verb', 'noun') if task == 'action' else (task,)
    return np.max([[r[part] for r in results] for part in parts], axis=0)


def _product_rank(sample: dict) -> int:
    """How many pairs have a larger product than the true one.

    Raises:
        ValueError: If the scores are not probabilities.
    """
    verb, noun = (
        sample[f'pred_{task}_score'].double().cpu().numpy()
        for task in ('verb', 'noun')
    )
    for scores in (verb, noun):
        if (scores < 0).any() or abs(scores.sum() - 1) > 1e-2:
            raise ValueError(
                'EpicKitchensMetric ranks actions by the product of '
                "probabilities: set average_clips='prob' in VerbNounHead."
            )
    true_verb, true_noun = sample['gt_label'].tolist()
    pairs = np.outer(verb, noun).reshape(1, -1)
    label = np.array([true_verb * len(noun) + true_noun])
    return int(label_ranks(pairs, label)[0])


def _read_list(listed: Listed, column: str) -> set[str] | None:
    """The values as text, from a sequence or a column of a CSV."""
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
