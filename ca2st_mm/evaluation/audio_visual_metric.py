# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Accuracy that says how much of the data had sound."""

from typing import Any, Dict, List, Sequence, Tuple

from mmaction.evaluation import AccMetric, top_k_accuracy

from ca2st_mm.registry import METRICS


@METRICS.register_module()
class AudioVisualAccMetric(AccMetric):
    """``AccMetric`` plus what a table of sound models must say.

    Reports besides: ``num_clips``; where ``PackActionInputs`` packs the
    meta key ``has_audio``, also ``with_sound``, the share of clips with
    sound, and ``top1_with_sound`` and ``top1_without_sound`` on the two
    subsets if both exist.  Takes the arguments of ``AccMetric``.
    """

    def process(
        self,
        data_batch: Sequence[Tuple[Any, Dict]],
        data_samples: Sequence[Dict],
    ) -> None:
        """Keep scores, labels and whether the clip had sound.

        Args:
            data_batch: Unused.
            data_samples: Predictions with ``pred_score`` and ``gt_label``.
        """
        before = len(self.results)
        super().process(data_batch, data_samples)
        for result, sample in zip(
            self.results[before:], data_samples, strict=False
        ):
            result['has_audio'] = sample.get('has_audio')

    def compute_metrics(self, results: List[Dict]) -> Dict[str, float]:
        """All numbers from all clips.

        Args:
            results: What ``process`` kept.
        """
        metrics = super().compute_metrics(results)
        metrics['num_clips'] = len(results)
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


def _top1(results: List[Dict]) -> float:
    """Top-1 accuracy of some clips."""
    scores = [r['pred'] for r in results]
    return top_k_accuracy(scores, [r['label'] for r in results], (1,))[0]
