# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Accuracy of clips with one label each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from ca2st_mm.registry import METRICS

from .accuracy import (
    label_ranks,
    mean_class_accuracy,
    top_k,
)
from .labels import label_of


@METRICS.register_module()
class ClipAccMetric(BaseMetric):
    """Top-k and mean class accuracy; each row of the manifest is a clip.

    Differs from MMAction2's ``AccMetric`` where a number depends on it: a
    class without a clip takes no part in the mean over classes (there it
    counts as 0 once it is predicted), ties go to the lower class, and scores
    that are not finite are an error.  Reports ``top<k>``, ``mean1`` (top-1
    averaged over classes) and ``num_clips``.

    ActivityNet: the authors' code merges predictions by video, so the
    instances of a video count once, with the span of the last one.  Here
    every instance counts, so the two numbers differ.

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
        """Keep scores and labels.

        Args:
            data_batch: Unused.
            data_samples: Predictions with ``pred_score`` (num_classes,) and
                ``gt_label`` (1,).

        Raises:
            ValueError: If a clip has several labels or none.
        """
        for sample in data_samples:
            label = label_of(sample, self)
            if label.numel() != 1:
                raise ValueError(
                    f'{type(self).__name__} takes one class a clip, got the '
                    f'label {label.tolist()}; VerbNounMetric takes a verb '
                    'and a noun.'
                )
            self.results.append(
                dict(
                    pred=sample['pred_score'].float().cpu().numpy(),
                    label=label.item(),
                    has_audio=sample.get('has_audio'),
                )
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """All numbers from all clips.

        Args:
            results: What ``process`` kept.
        """
        scores = np.stack([r['pred'] for r in results])
        labels = np.array([r['label'] for r in results])
        ranks = label_ranks(scores, labels)
        metrics = {f'top{k}': top_k(ranks, k) for k in self.topk}
        metrics['mean1'] = mean_class_accuracy(ranks, labels)
        metrics['num_clips'] = len(results)
        return metrics
