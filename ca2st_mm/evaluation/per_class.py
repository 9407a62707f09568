# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Numbers of each class; arrays in, arrays out."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support


def class_table(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> np.ndarray:
    """Precision, recall, F1 and number of clips of every class.

    A ratio without clips (a class that was never predicted has no
    precision) is 0 for precision and recall as usual; look at the last
    column for classes that have no clip.

    Args:
        labels: True classes, (num_clips,).
        predictions: Best classes, (num_clips,).
        num_classes: C.

    Returns:
        (C, 4), float64: precision, recall, F1 and support.
    """
    columns = precision_recall_fscore_support(
        labels, predictions, labels=np.arange(num_classes), zero_division=0
    )
    return np.stack(columns, axis=1).astype(np.float64)


def count_confusions(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> np.ndarray:
    """How often class i was taken for class j, (C, C), int.

    Args:
        labels: True classes, (num_clips,).
        predictions: Best classes, (num_clips,).
        num_classes: C.
    """
    return confusion_matrix(labels, predictions, labels=np.arange(num_classes))


def most_confused(
    counts: np.ndarray, limit: int = 20
) -> list[tuple[int, int, int]]:
    """The pairs that are confused most often.

    Args:
        counts: Of :func:`count_confusions`.
        limit: How many at most.

    Returns:
        (true class, predicted class, clips), most first.
    """
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind='stable')[:limit]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [
        (int(i), int(j), int(wrong[i, j])) for i, j in pairs if wrong[i, j]
    ]


def mean_by_group(
    values: np.ndarray, weights: np.ndarray, groups: Sequence[str]
) -> list[tuple[str, float, float]]:
    """Weighted mean of the classes of each group.

    Args:
        values: One number a class, (C,).
        weights: Clips of each class, (C,).
        groups: Name of the group of each class, C of them.

    Returns:
        (group, mean, sum of weights), largest mean first; groups without
        weight are left out.
    """
    names = np.asarray(groups)
    rows = []
    for name in sorted(set(groups)):
        chosen = names == name
        total = float(weights[chosen].sum())
        if total:
            mean = float(np.average(values[chosen], weights=weights[chosen]))
            rows.append((name, mean, total))
    return sorted(rows, key=lambda row: -row[1])
