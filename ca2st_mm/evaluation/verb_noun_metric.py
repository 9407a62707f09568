# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Verb, noun and action accuracy as for EPIC-KITCHENS-100."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from ca2st_mm.registry import METRICS

from .accuracy import label_ranks, top_k
from .labels import label_of


@METRICS.register_module()
class VerbNounMetric(BaseMetric):
    """Verb, noun and action top-k accuracy.

    An action is right at k if the verb is among the k best verbs and the
    noun among the k best nouns (the authors' rule).  Every prediction holds
    ``pred_verb_score`` (num_verbs,), ``pred_noun_score`` (num_nouns,) and
    ``gt_label`` [verb, noun].  Reports ``verb_top1``, ``noun_top1``,
    ``action_top1``, the same for each k, and ``num_clips``; with the meta
    key ``has_audio`` also ``with_sound``, the share of clips with sound.

    Args:
        topk: The values of k.
        collect_device: Where results of several ranks meet.
        prefix: Prefix of the names of the numbers.
    """

    default_prefix: str | None = 'acc'

    def __init__(
        self,
        topk: tuple[int, ...] = (1, 5),
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.topk = topk

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the rank of the true verb and of the true noun.

        Args:
            data_batch: Unused.
            data_samples: Predictions, see the class docstring.

        Raises:
            KeyError: If a prediction has no verb or noun score.
            ValueError: If a clip has no label.
        """
        for sample in data_samples:
            verb, noun = label_of(sample, self).tolist()
            self.results.append(
                dict(
                    verb=_rank(sample, 'pred_verb_score', verb),
                    noun=_rank(sample, 'pred_noun_score', noun),
                    has_audio=sample.get('has_audio'),
                )
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """All numbers from all clips.

        Args:
            results: What ``process`` kept.
        """
        verb = np.array([r['verb'] for r in results])
        noun = np.array([r['noun'] for r in results])
        ranks = dict(verb=verb, noun=noun, action=np.maximum(verb, noun))
        metrics = {
            f'{name}_top{k}': top_k(rank, k)
            for k in self.topk
            for name, rank in ranks.items()
        }
        metrics['num_clips'] = len(results)
        sound = [r['has_audio'] for r in results if r['has_audio'] is not None]
        if sound:
            metrics['with_sound'] = float(np.mean(sound))
        return metrics


def _rank(sample: dict, key: str, label: int) -> int:
    """How many classes stand before the true one.

    Raises:
        KeyError: If the prediction has no such scores.
    """
    if key not in sample:
        raise KeyError(
            f"VerbNounMetric needs '{key}' in every prediction: use "
            'VerbNounHead.'
        )
    scores = sample[key].float().cpu().numpy()
    return int(label_ranks(scores[None], np.array([label]))[0])
