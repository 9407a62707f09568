# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How well scores tell each class from all others, averaged over classes."""

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score


def mean_ap_and_auc(
    scores: np.ndarray, labels: np.ndarray
) -> tuple[float, float]:
    """Mean average precision and mean area under the ROC curve.

    Classes without a clip have neither number and take no part; a class that
    all clips have has no area and takes no part in the second one.

    Args:
        scores: (num_clips, num_classes).
        labels: True classes, (num_clips,).

    Returns:
        mAP and mAUC; mAUC is NaN if all clips have one class.
    """
    precisions, areas = [], []
    for index in np.unique(labels):
        truth = labels == index
        precisions.append(average_precision_score(truth, scores[:, index]))
        if not truth.all():
            areas.append(roc_auc_score(truth, scores[:, index]))
    mean_auc = float(np.mean(areas)) if areas else float('nan')
    return float(np.mean(precisions)), mean_auc
