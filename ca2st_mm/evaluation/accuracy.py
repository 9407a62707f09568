# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Numbers from scores and labels; arrays in, floats out.

Ties go to the class with the lower index, as in a stable sort, so a constant
score is right for class 0 only.  scikit-learn is imported where it is used:
it would take a sixth of the start of every command.
"""

import numpy as np


def label_ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes stand before the true one.

    Args:
        scores: Any real scores, (num_clips, num_classes).
        labels: True classes, (num_clips,).

    Returns:
        Ranks from 0 (the best), (num_clips,).

    Raises:
        ValueError: If a score is not finite or a label no class; a NaN
            would otherwise pass for the best score.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    faulty = ~np.isfinite(scores).all(axis=1)
    if faulty.any():
        raise ValueError(
            f'{int(faulty.sum())} of {len(scores)} clips have scores that '
            'are not finite (NaN or infinite); the model diverged or its '
            'precision is too low for it.'
        )
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(
            f'Labels run from {labels.min()} to {labels.max()}, but there '
            f'are scores of {scores.shape[1]} classes; the model and the '
            'annotation file must have the same classes.'
        )
    true = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1]) < labels[:, None]
    return ((scores > true) | ((scores == true) & before)).sum(axis=1)


def top_k(ranks: np.ndarray, k: int) -> float:
    """Share of clips whose true class is among the k best.

    Args:
        ranks: Of :func:`label_ranks`, at least one.
        k: How many classes count.

    Example:
        >>> ranks = label_ranks(np.array([[0.1, 0.9], [0.6, 0.4]]), [1, 1])
        >>> ranks.tolist(), top_k(ranks, 1)
        ([0, 1], 0.5)
    """
    return float(np.mean(np.asarray(ranks) < k))


def mean_class_accuracy(ranks: np.ndarray, labels: np.ndarray) -> float:
    """Top-1 of each class, averaged over the classes that occur.

    Args:
        ranks: Of :func:`label_ranks`, (num_clips,).
        labels: True classes, (num_clips,).
    """
    counts = np.bincount(labels)
    right = np.bincount(labels, weights=np.asarray(ranks) < 1)
    return float(np.mean(right[counts > 0] / counts[counts > 0]))


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
    from sklearn.metrics import average_precision_score, roc_auc_score

    classes = np.unique(labels)
    truth, scores = labels[:, None] == classes, scores[:, classes]
    precision = float(average_precision_score(truth, scores))
    if len(classes) == 1:
        return precision, float('nan')
    return precision, float(roc_auc_score(truth, scores))
