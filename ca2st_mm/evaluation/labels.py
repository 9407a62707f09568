# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The label that a metric compares with."""

from typing import Any

from torch import Tensor


def label_of(sample: dict, metric: Any) -> Tensor:
    """The true label of a clip.

    Args:
        sample: A prediction as a dict.
        metric: Who asks, for the message.

    Raises:
        ValueError: If the clip has none.
    """
    label = sample.get('gt_label')
    if label is None:
        raise ValueError(
            f'{type(metric).__name__} needs labels, but the clip '
            f"'{sample.get('filename', 'unknown')}' has none: for a test set "
            'without public labels let test_evaluator be '
            'EpicKitchensSubmission or EpicSoundsSubmission, which write '
            'predictions alone.'
        )
    return label
