# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Verbs, nouns and actions: the numbers of EPIC-KITCHENS-100."""

from collections.abc import Sequence
from statistics import harmonic_mean
from typing import Any

import numpy as np
from torch import Tensor

from ca2st_mm.registry import METRICS

from .accuracy import label_ranks, top_k
from .clip_metrics import ClipMetric, Listed, read_list, scores_of

TASKS = ('verb', 'noun', 'action')


@METRICS.register_module()
class VerbNounMetric(ClipMetric):
    """Verb, noun and action top-k accuracy.

    An action is right at k if the verb is among the k best verbs and the
    noun among the k best nouns (the authors' rule).  Every prediction holds
    ``pred_verb_score`` (num_verbs,), ``pred_noun_score`` (num_nouns,) and
    ``gt_label`` [verb, noun].  Reports ``verb_top1``, ``noun_top1``,
    ``action_top1``, the same for each k, and ``num_clips``.  Takes the
    arguments of ``ClipMetric``.

    Example:
        >>> import torch
        >>> metric = VerbNounMetric(topk=(1,))
        >>> metric.process(None, [dict(
        ...     pred_verb_score=torch.tensor([0.9, 0.1]),
        ...     pred_noun_score=torch.tensor([0.9, 0.1]),
        ...     gt_label=torch.tensor([0, 1]))])
        >>> numbers = metric.evaluate(1)
        >>> numbers['acc/verb_top1'], numbers['acc/action_top1']
        (1.0, 0.0)
    """

    def keep(self, sample: dict, label: Tensor) -> dict[str, Any]:
        """The scores of verbs and nouns."""
        if label.numel() != 2:
            raise ValueError(
                f'{type(self).__name__} takes a verb and a noun a clip, got '
                f'the label {label.tolist()}; ClipAccMetric takes one class.'
            )
        return {
            task: scores_of(sample, f'pred_{task}_score') for task in TASKS[:2]
        }

    def ranks(self, results: list[dict]) -> dict[str, np.ndarray]:
        """Ranks of the true verb, noun and action, (num_clips,) each."""
        labels = np.array([r['labels'] for r in results])
        ranks = {
            task: label_ranks(np.stack([r[task] for r in results]), of_task)
            for task, of_task in zip(TASKS, labels.T, strict=False)
        }
        return dict(ranks, action=np.maximum(ranks['verb'], ranks['noun']))

    def numbers(self, results: list[dict]) -> dict[str, float]:
        """Top-k of verbs, nouns and actions."""
        ranks = self.ranks(results)
        return {
            f'{task}_top{k}': top_k(ranks[task], k)
            for k in self.topk
            for task in TASKS
        }


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

    Needs ``average_clips='prob'`` in the head.

    Args:
        unseen_participants: As of ``ClipMetric``, the challenge's CSV.
        tail_verbs: Class indices, or the CSV with the column ``verb``.
        tail_nouns: Class indices, or the CSV with the column ``noun``.
        **kwargs: Of ``ClipMetric``.

    Raises:
        FileNotFoundError: If a list is not there.
        ValueError: If a list has no such column.

    Example:
        >>> metric = EpicKitchensMetric(
        ...     unseen_participants=['P18', 'P32'], tail_verbs=[40, 41])
    """

    def __init__(
        self,
        unseen_participants: Listed = None,
        tail_verbs: Listed = None,
        tail_nouns: Listed = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(unseen_participants=unseen_participants, **kwargs)
        self.tail = dict(
            verb=read_list(tail_verbs, 'verb'),
            noun=read_list(tail_nouns, 'noun'),
        )

    def keep(self, sample: dict, label: Tensor) -> dict[str, Any]:
        """The scores, and the rank of the pair by their product."""
        result = super().keep(sample, label)
        result['product'] = _product_rank(
            result['verb'], result['noun'], label.tolist()
        )
        return result

    def numbers(self, results: list[dict]) -> dict[str, float]:
        """Those of ``VerbNounMetric``, and by subset."""
        metrics = super().numbers(results)
        ranks = self.ranks(results)
        for k in self.topk:
            product = [r['product'] for r in results]
            metrics[f'action_product_top{k}'] = top_k(product, k)
        metrics['harmonic_verb_noun'] = harmonic_mean(
            top_k(ranks[task], 1) for task in TASKS[:2]
        )
        if None not in self.tail.values():
            rare = {
                task: np.array(
                    [str(r['labels'][place]) in tail for r in results]
                )
                for place, (task, tail) in enumerate(self.tail.items())
            }
            rare['action'] = rare['verb'] | rare['noun']
            for task, some in rare.items():
                metrics[f'tail_{task}_num_clips'] = int(some.sum())
                if some.any():
                    metrics[f'tail_{task}_top1'] = top_k(ranks[task][some], 1)
        return metrics


def _product_rank(
    verb: np.ndarray, noun: np.ndarray, label: Sequence[int]
) -> int:
    """Pairs of verb and noun before the true one, by product."""
    for scores in (verb, noun):
        if (scores < 0).any() or abs(scores.sum() - 1) > 1e-2:
            raise ValueError(
                'EpicKitchensMetric ranks actions by the product of '
                "probabilities: set average_clips='prob' in VerbNounHead."
            )
    pairs = np.outer(verb, noun).reshape(1, -1)
    number = np.array([label[0] * len(noun) + label[1]])
    return int(label_ranks(pairs, number)[0])
