# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the answers of coalitions say about a set of clips.

Arrays in, numbers out: where the answers come from, a model or the exact
posterior of the toy world, makes no difference here.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp
from scipy.stats import binomtest, false_discovery_control, norm

from ca2st_mm.apis.modality_contributions import (
    Coalition,
    of_groups,
    shapley_values,
)


def calibration(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = 10
) -> dict[str, Any]:
    """How far confidence, the highest probability, is from accuracy.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    The error is never negative, so that a perfect model on n clips shows
    about sqrt(bins / n) / 2 of it.

    Args:
        probabilities: (num_clips, num_classes).
        labels: True classes, (num_clips,).
        bins: Number of bins of equal width.

    Returns:
        ``error``, the expected calibration error, and of each bin with clips
        the mean ``confidence``, the ``accuracy`` and the ``clips``.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    # To single precision: 0.7 is the edge of a bin, however it is rounded.
    place = np.ceil(np.float32(confidence) * bins).astype(int) - 1
    place = place.clip(0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    used = counts > 0
    sums = (np.bincount(place, v, bins)[used] for v in (confidence, right))
    confidence, accuracy = (total / counts[used] for total in sums)
    error = np.average(np.abs(confidence - accuracy), weights=counts[used])
    return dict(
        error=float(error),
        confidence=confidence.tolist(),
        accuracy=accuracy.tolist(),
        clips=counts[used].tolist(),
    )


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The number, 0.05 to 20, that logits are divided by for calibration.

    It minimises the cross-entropy of clips that the model was not trained
    on, and changes no ranking of a single view.  Source: Guo et al., ICML
    2017.

    Args:
        logits: (num_clips, num_views, num_classes); views are averaged as
            probabilities.
        labels: True classes, (num_clips,).
    """
    clips = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        views = log_softmax(logits / np.exp(log_temperature), axis=-1)
        true = views[clips, :, labels]
        return -float(np.mean(logsumexp(true, axis=1)))

    found = minimize_scalar(loss, bounds=np.log((0.05, 20)), method='bounded')
    return float(np.exp(found.x))


def paired_test(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Whether one of two classifiers is right more often, on the same clips.

    The interval is the adjusted Wald one of Bonett and Price (Journal of
    Educational and Behavioral Statistics 37, 2012), which holds with few
    clips as well and is not empty where none differs.

    Args:
        first: Whether it is right, (num_clips,).
        second: The same of the other.

    Returns:
        Number of ``clips``; how many the first alone classifies correctly
        (``gained``), and the second alone (``lost``); the ``difference`` of
        their accuracies with its 95 % confidence interval (``low``,
        ``high``); and the ``p_value`` of McNemar's exact test.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    clips = len(first)
    gained = int(np.sum(first & ~second))
    lost = int(np.sum(second & ~first))
    a, b = (gained + 1) / (clips + 2), (lost + 1) / (clips + 2)
    width = norm.ppf(0.975) * np.sqrt((a + b - (a - b) ** 2) / (clips + 2))
    differ = gained + lost
    return dict(
        clips=clips,
        gained=gained,
        lost=lost,
        difference=(gained - lost) / clips,
        low=float(max(a - b - width, -1)),
        high=float(min(a - b + width, 1)),
        p_value=float(binomtest(gained, differ).pvalue) if differ else 1.0,
    )


def summary(logs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Top-1, and the mean logit and probability of the true class."""
    true = logs[np.arange(len(labels)), labels]
    return dict(
        top1=float(np.mean(logs.argmax(axis=1) == labels)),
        logit=float(true.mean()),
        probability=float(np.exp(true).mean()),
    )


def modality_report(
    log_probabilities: Mapping[Coalition, np.ndarray],
    labels: np.ndarray,
    modalities: Mapping[str, Collection[str]],
    by_class: Sequence[str] = (),
) -> dict[str, Any]:
    """What the answers of all coalitions say about a set of clips.

    Args:
        log_probabilities: (num_clips, num_classes) by coalition of experts,
            the empty one included.
        labels: True classes, (num_clips,).
        modalities: Experts of each modality.
        by_class: Class names; without them, no entry ``classes``.

    Returns:
        ``clips``; by coalition of experts, written 'a + b', its ``top1``,
        mean ``logit`` and ``probability`` of the true class, and
        ``calibration``; ``shapley`` of these three numbers, over
        ``modalities`` and over ``experts``; ``confusion``
        (:func:`modality_confusion`); by modality, whether it ``helps``: a
        paired test of all experts against all but its own; and for
        each class that occurs the same but for the calibration, its tests
        with a ``q_value``: the p-value for so many tests at once (Benjamini
        and Hochberg, 1995).
    """
    right = {
        c: logs.argmax(axis=1) == labels
        for c, logs in log_probabilities.items()
    }
    rows = {c: summary(logs, labels) for c, logs in log_probabilities.items()}
    numbers = {
        key: {c: row[key] for c, row in rows.items()}
        for key in ('top1', 'logit', 'probability')
    }
    experts = max(log_probabilities, key=len)
    report = dict(
        clips=len(labels),
        coalitions={coalition_name(c): row for c, row in rows.items()},
        shapley=dict(
            modalities={
                key: shapley_values(of_groups(by, modalities))
                for key, by in numbers.items()
            },
            experts={key: shapley_values(by) for key, by in numbers.items()},
        ),
        confusion=modality_confusion(of_groups(right, modalities)),
        helps={
            name: paired_test(right[experts], right[experts - set(members)])
            for name, members in modalities.items()
        },
    )
    if not by_class:
        return report
    for coalition, logs in log_probabilities.items():
        rows[coalition]['calibration'] = calibration(np.exp(logs), labels)
    report['classes'] = {}
    for label in np.unique(labels):
        own = labels == label
        logs_of_class = {c: logs[own] for c, logs in log_probabilities.items()}
        report['classes'][by_class[label]] = modality_report(
            logs_of_class, labels[own], modalities
        )
    for name in modalities:
        tests = [found['helps'][name] for found in report['classes'].values()]
        adjusted = false_discovery_control([t['p_value'] for t in tests])
        for test, value in zip(tests, adjusted, strict=True):
            test['q_value'] = float(value)
    return report


def modality_confusion(
    right: Mapping[Coalition, np.ndarray],
) -> dict[str, float]:
    """Shares of clips on which modalities disturb or need each other.

    ``right`` says whether each coalition of modalities is right, (num_clips,).
    """
    right = {c: np.asarray(hits, bool) for c, hits in right.items()}
    whole = right[max(right, key=len)]
    alone = {name: right[frozenset({name})] for name in max(right, key=len)}
    some = np.any(list(alone.values()), axis=0)
    shares = {
        f'right with {name} alone, wrong with all': hits & ~whole
        for name, hits in sorted(alone.items())
    }
    shares['right with one alone, wrong with all'] = some & ~whole
    shares['wrong with each alone, right with all'] = ~some & whole
    return {name: float(hits.mean()) for name, hits in shares.items()}


def coalition_name(coalition: Coalition) -> str:
    """Players of a coalition in alphabetical order, or 'nothing'."""
    return ' + '.join(sorted(coalition)) or 'nothing'
