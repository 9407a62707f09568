# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A metric on the clips that could be read, with the count of both."""

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from ca2st_mm.registry import METRICS


@METRICS.register_module()
class ReadableClips(BaseMetric):
    """Apply a metric to the clips without the mark ``unreadable``.

    For sets with ``on_error='skip'`` in evaluation.  Every clip, marked or
    not, gives one result in every process, so nothing is lost where the
    results of several processes meet.  Reports besides the numbers of the
    metric ``num_used`` and ``num_expected``.

    Args:
        metric: Config of the metric; one that looks at predictions alone,
            not at the batch of inputs.
    """

    def __init__(self, metric: dict) -> None:
        self.metric = METRICS.build(metric)
        super().__init__(
            collect_device=self.metric.collect_device,
            prefix=self.metric.prefix,
            collect_dir=self.metric.collect_dir,
        )

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what the metric keeps of each clip; nothing of a marked one.

        Args:
            data_batch: Passed on.
            data_samples: Predictions as dicts.
        """
        self.metric.dataset_meta = self.dataset_meta
        for sample in data_samples:
            self.metric.results = []
            if not sample.get('unreadable'):
                self.metric.process(data_batch, [sample])
            self.results.append(self.metric.results)

    def compute_metrics(self, results: list[list]) -> dict[str, float]:
        """The numbers of the metric, and how many clips they stand on.

        Args:
            results: What ``process`` kept.

        Raises:
            ValueError: If no clip could be read.
        """
        used = [kept for kept in results if kept]
        if not used:
            raise ValueError(
                f'None of the {len(results)} clips could be read: look into '
                'the quarantine file of the set.'
            )
        print_log(
            f'{len(used)} of {len(results)} clips used; '
            f'{len(results) - len(used)} could not be read.',
            logger='current',
        )
        metrics = self.metric.compute_metrics(
            [r for kept in used for r in kept]
        )
        return dict(metrics, num_used=len(used), num_expected=len(results))
