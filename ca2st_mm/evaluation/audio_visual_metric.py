# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Accuracy that says how much of the data had sound."""

import numpy as np

from ca2st_mm.registry import METRICS

from .accuracy import label_ranks, top_k
from .clip_acc_metric import ClipAccMetric
from .one_vs_rest import mean_ap_and_auc


@METRICS.register_module()
class AudioVisualAccMetric(ClipAccMetric):
    """``ClipAccMetric`` plus what a table of sound models must say.

    Where ``PackActionInputs`` packs the meta key ``has_audio``, reports
    besides ``with_sound``, the share of clips with sound, and
    ``top1_with_sound`` and ``top1_without_sound`` on the two subsets if
    both exist.
    """

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """All numbers from all clips.

        Args:
            results: What ``process`` kept.
        """
        metrics = super().compute_metrics(results)
        known = [r for r in results if r['has_audio'] is not None]
        if not known:
            return metrics
        heard = [r for r in known if r['has_audio']]
        silent = [r for r in known if not r['has_audio']]
        metrics['with_sound'] = len(heard) / len(known)
        if heard and silent:
            metrics['top1_with_sound'] = _top1(heard)
            metrics['top1_without_sound'] = _top1(silent)
        return metrics


@METRICS.register_module()
class SoundEventMetric(AudioVisualAccMetric):
    """The set of numbers of EPIC-SOUNDS.

    To those of ``AudioVisualAccMetric`` (``mean1`` is EPIC-SOUNDS' mean
    per class accuracy) it adds ``mAP`` and ``mAUC``, each averaged over the
    classes that occur; see :func:`mean_ap_and_auc`.

    Source: Huh et al., EPIC-SOUNDS, ICASSP 2023.
    """

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """All numbers from all clips.

        Args:
            results: What ``process`` kept.
        """
        metrics = super().compute_metrics(results)
        scores = np.stack([r['pred'] for r in results])
        labels = np.array([r['label'] for r in results])
        metrics['mAP'], metrics['mAUC'] = mean_ap_and_auc(scores, labels)
        return metrics


def _top1(results: list[dict]) -> float:
    """Top-1 accuracy of some clips."""
    scores = np.stack([r['pred'] for r in results])
    return top_k(
        label_ranks(scores, np.array([r['label'] for r in results])), 1
    )
