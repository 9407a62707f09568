# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What modalities and experts contribute, from the answers of coalitions.

A coalition is a set of players, modalities or experts, that answers without
the others.  Arrays in, numbers out: where the answers come from, a model or
the exact posterior of the toy world, makes no difference here.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Any, NamedTuple

import numpy as np

Coalition = frozenset[str]
EMPTY: Coalition = frozenset()


def coalitions_of(players: Iterable[str]) -> list[Coalition]:
    """All sets of players, from none to all.

    Example:
        >>> [sorted(c) for c in coalitions_of(['audio', 'video'])]
        [[], ['audio'], ['video'], ['audio', 'video']]
    """
    players = list(players)
    return [
        frozenset(chosen)
        for size in range(len(players) + 1)
        for chosen in combinations(players, size)
    ]


def of_groups(
    values: Mapping[Coalition, Any], groups: Mapping[str, Iterable[str]]
) -> dict[Coalition, Any]:
    """The values of coalitions of groups, such as modalities of experts.

    Args:
        values: By coalition of members.
        groups: Members by name of the group.
    """
    return {
        chosen: values[frozenset(m for group in chosen for m in groups[group])]
        for chosen in coalitions_of(groups)
    }


def shapley_values(values: Mapping[Coalition, Any]) -> dict[str, Any]:
    """Exact Shapley value of every player.

    The mean gain of a player over all orders in which the players can come
    in.  They add up to the value of all players minus that of none.  Source:
    Shapley, A value for n-person games, 1953.

    Args:
        values: Number or array of every coalition, the empty one included.

    Example:
        >>> none, a, b, both = coalitions_of('ab')
        >>> shapley_values({none: 0.0, a: 0.5, b: 0.2, both: 1.0})
        {'a': 0.65, 'b': 0.35}
    """
    players = sorted(max(values, key=len))
    found = dict.fromkeys(players, 0)
    for player in players:
        for others in coalitions_of(p for p in players if p != player):
            weight = len(players) * comb(len(players) - 1, len(others))
            gain = values[others | {player}] - values[others]
            found[player] = found[player] + gain / weight
    return found


class Calibration(NamedTuple):
    """How far confidence, the highest probability, is from accuracy.

    Attributes:
        error: Expected calibration error: mean of the difference over the
            bins, weighted by their clips.
        confidence: Mean of each bin that holds clips.
        accuracy: Share of correct clips of each.
        clips: Number of clips of each.
    """

    error: float
    confidence: list[float]
    accuracy: list[float]
    clips: list[int]


def calibration(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = 10
) -> Calibration:
    """Expected calibration error and reliability diagram.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    The error is never negative, so that a perfect model on n clips shows
    about sqrt(bins / n) / 2 of it.

    Args:
        probabilities: (num_clips, num_classes).
        labels: True classes, (num_clips,).
        bins: Number of bins of equal width.

    Example:
        >>> right = np.array([[0.75, 0.25]] * 4)
        >>> calibration(right, np.array([0, 0, 0, 1])).error
        0.0
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
    return Calibration(
        float(error),
        confidence.tolist(),
        accuracy.tolist(),
        counts[used].tolist(),
    )


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The number that logits are divided by to be best calibrated.

    It minimises the cross-entropy of clips that the model was not trained
    on, and changes no ranking of a single view.  Source: Guo et al., ICML
    2017.

    Args:
        logits: (num_clips, num_views, num_classes); views are averaged as
            probabilities.
        labels: True classes, (num_clips,).

    Returns:
        From 0.05 to 20.

    Example:
        >>> logits = np.log([[[0.9, 0.1]]] * 4)
        >>> round(fit_temperature(logits, np.array([0, 0, 0, 1])), 3)
        2.0
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax, logsumexp

    clips = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        views = log_softmax(logits / np.exp(log_temperature), axis=-1)
        true = views[clips, :, labels]
        return -float(np.mean(logsumexp(true, axis=1)))

    found = minimize_scalar(loss, bounds=np.log((0.05, 20)), method='bounded')
    return float(np.exp(found.x))


class PairedTest(NamedTuple):
    """Two classifiers on the same clips.

    Attributes:
        clips: Number of clips.
        gained: Clips that the first alone classifies correctly.
        lost: Clips that the second alone classifies correctly.
        difference: Accuracy of the first minus that of the second.
        low: Lower end of the 95 % confidence interval of the difference.
        high: Upper end.
        p_value: Of McNemar's exact test that there is no difference.
    """

    clips: int
    gained: int
    lost: int
    difference: float
    low: float
    high: float
    p_value: float


def paired_test(first: np.ndarray, second: np.ndarray) -> PairedTest:
    """Whether one of two classifiers is right more often, on the same clips.

    The interval is the adjusted Wald one of Bonett and Price (Journal of
    Educational and Behavioral Statistics 37, 2012), which holds with few
    clips as well and is not empty where none differs.

    Args:
        first: Whether it is right, (num_clips,).
        second: The same of the other.

    Example:
        >>> found = paired_test(np.ones(20, bool), np.arange(20) > 5)
        >>> found.gained, found.lost, round(found.p_value, 3)
        (6, 0, 0.031)
    """
    from scipy.stats import binomtest, norm

    first, second = np.asarray(first, bool), np.asarray(second, bool)
    clips = len(first)
    gained = int(np.sum(first & ~second))
    lost = int(np.sum(second & ~first))
    a, b = (gained + 1) / (clips + 2), (lost + 1) / (clips + 2)
    width = norm.ppf(0.975) * np.sqrt((a + b - (a - b) ** 2) / (clips + 2))
    differ = gained + lost
    return PairedTest(
        clips,
        gained,
        lost,
        (gained - lost) / clips,
        float(max(a - b - width, -1)),
        float(min(a - b + width, 1)),
        float(binomtest(gained, differ).pvalue) if differ else 1.0,
    )


def summary(logs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Top-1, and the mean logit and probability of the true class.

    Args:
        logs: Logarithms of the probabilities, (num_clips, num_classes).
        labels: True classes, (num_clips,).
    """
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
        :class:`PairedTest` of all experts against all but its own; and for
        each class that occurs the same but for the calibration, its tests
        with a ``q_value``: the p-value for so many tests at once (Benjamini
        and Hochberg, 1995).
    """
    from scipy.stats import false_discovery_control

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
            name: paired_test(
                right[experts], right[experts - set(members)]
            )._asdict()
            for name, members in modalities.items()
        },
    )
    if not by_class:
        return report
    for coalition, logs in log_probabilities.items():
        found = calibration(np.exp(logs), labels)
        rows[coalition]['calibration'] = found._asdict()
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

    Args:
        right: Whether each coalition of modalities is right, (num_clips,).

    Returns:
        For every modality the share of clips that are ``right with <name>
        alone, wrong with all``; of those of any modality; and of the clips
        that are ``wrong with each alone, right with all``.

    Example:
        >>> none, a, v, both = coalitions_of(['audio', 'video'])
        >>> hits = {none: [0, 0], a: [1, 0], v: [0, 0], both: [0, 1]}
        >>> modality_confusion(hits)['right with audio alone, wrong with all']
        0.5
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
