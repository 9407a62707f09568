# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Numbers against naive computations, loop by loop."""

import numpy as np
import pytest

from ca2st_mm.evaluation.accuracy import (
    label_ranks,
    mean_ap_and_auc,
    mean_class_accuracy,
    top_k,
)


def case(seed, clips=60, classes=9, levels=5):
    """Scores with many ties; classes 0 and 8 never occur as labels."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (clips, classes)) / levels
    return scores, rng.integers(1, classes - 1, clips)


def naive_order(row):
    """Best class first; Python's sort is stable."""
    return sorted(range(len(row)), key=lambda index: -row[index])


@pytest.mark.parametrize('seed', range(2))
def test_ranks_and_top_k(seed):
    scores, labels = case(seed)
    ranks = label_ranks(scores, labels)
    naive = [
        naive_order(row).index(label)
        for row, label in zip(scores, labels, strict=True)
    ]
    assert ranks.tolist() == naive
    for k in (1, 5):
        assert top_k(ranks, k) == sum(r < k for r in naive) / len(naive)


@pytest.mark.parametrize('seed', range(2))
def test_mean_over_classes_that_occur(seed):
    scores, labels = case(seed)
    means = []
    for index in sorted(set(labels)):
        rows = scores[labels == index]
        means.append(np.mean([naive_order(r)[0] == index for r in rows]))
    ours = mean_class_accuracy(label_ranks(scores, labels), labels)
    assert ours == pytest.approx(np.mean(means))


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite(value):
    scores = np.zeros((4, 3))
    scores[2, 1] = value
    with pytest.raises(ValueError, match='1 of 4 clips'):
        label_ranks(scores, np.zeros(4, int))


@pytest.mark.parametrize('label', [-1, 3])
def test_label_without_class(label):
    with pytest.raises(ValueError, match='scores of 3 classes'):
        label_ranks(np.zeros((1, 3)), np.array([label]))


def test_ap_and_auc():
    """By hand, over the two of three classes that occur."""
    scores = np.array([[0.9, 0.6, 0], [0.8, 0.2, 0], [0.1, 0.5, 0]])
    labels = np.array([0, 1, 0])
    # Class 0 is first and third, class 1 last of three.
    average_precision = (1 + 2 / 3) / 2, 1 / 3
    areas = 1 / 2, 0
    assert mean_ap_and_auc(scores, labels) == pytest.approx(
        (np.mean(average_precision), np.mean(areas))
    )


def test_one_class_only_has_no_area():
    mean_ap, mean_auc = mean_ap_and_auc(np.eye(3), np.array([1, 1, 1]))
    assert mean_ap == 1.0
    assert np.isnan(mean_auc)
