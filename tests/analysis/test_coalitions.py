# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Coalitions: what is computed from answers is true of the toy world."""

from itertools import permutations

import numpy as np
import pytest
from modality_statistics import (
    calibration,
    fit_temperature,
    modality_report,
    paired_test,
)
from scipy.special import log_softmax

from ca2st_mm.apis.modality_contributions import (
    coalitions_of,
    shapley_values,
)
from ca2st_mm.datasets.toy import (
    FACTORS,
    LABEL_FACTORS,
    ToyWorld,
    class_names,
    posterior,
)

MODALITIES = dict(video=['spatial', 'temporal'], audio=['audio'])
EXPERTS = ('spatial', 'temporal', 'audio')
# What each expert of the toy tells.
TELLS = dict(spatial=['shape'], temporal=['shape', 'direction'])
TELLS['audio'] = ['pitch']
CLIPS = 6000


def test_shapley_values_are_means_over_orders_and_add_up():
    rng = np.random.default_rng(0)
    values = {c: rng.normal(size=3) for c in coalitions_of('abcd')}
    found = shapley_values(values)
    expected = dict.fromkeys('abcd', 0)
    for order in permutations('abcd'):
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            gain = values[before | {player}] - values[before]
            expected[player] = expected[player] + gain / 24
    for player, value in found.items():
        np.testing.assert_allclose(value, expected[player], atol=1e-12)
    whole = values[frozenset('abcd')] - values[frozenset()]
    np.testing.assert_allclose(sum(found.values()), whole, atol=1e-12)


def draw(world, seed=0):
    """Labels and exact log-posteriors of every coalition of experts."""
    rng = np.random.default_rng(seed)
    events = {f: rng.integers(len(v), size=CLIPS) for f, v in FACTORS.items()}
    wrong = rng.random(CLIPS) < world.misaligned
    heard = np.where(wrong, rng.integers(3, size=CLIPS), events['pitch'])
    labels = np.zeros(CLIPS, int)
    for factor in LABEL_FACTORS[world.labels_from]:
        labels = labels * len(FACTORS[factor]) + events[factor]
    seen = {**events, 'pitch': heard}
    logs = {}
    for experts in coalitions_of(EXPERTS):
        known = {f: seen[f] for e in experts for f in TELLS[e]}
        exact = posterior(known, CLIPS, world)
        assert exact.sum(axis=1) == pytest.approx(1)
        logs[experts] = np.log(np.maximum(exact, 1e-300))
    return labels, logs


@pytest.mark.parametrize(
    'world, top1, confused',
    [
        # Upper bounds of nothing, audio, video and both.  Ties go to the
        # lowest class; so video alone names the lowest pitch.
        (ToyWorld(), (1 / 12, 1 / 4, 1 / 3, 1), 0),
        (ToyWorld(labels_from='video'), (1 / 4, 1 / 4, 1, 1), 0),
        (ToyWorld(labels_from='audio'), (1 / 3, 1, 1 / 3, 1), 0),
        (
            ToyWorld(misaligned=0.48),
            (1 / 12, 0.68 / 4, 1 / 3, 0.68),
            # the lowest pitch, and another one is heard
            0.32 / 3,
        ),
    ],
)
def test_the_report_returns_the_truth_of_the_toy_world(world, top1, confused):
    labels, logs = draw(world)
    names = class_names(world.labels_from)
    found = modality_report(logs, labels, MODALITIES, names)
    error = 4 * 0.5 / np.sqrt(CLIPS)  # four standard errors
    nothing, audio, video, both = top1
    shapley = found['shapley']['modalities']
    expected = dict(
        audio=(audio - nothing + both - video) / 2,
        video=(video - nothing + both - audio) / 2,
    )
    assert shapley['top1'] == pytest.approx(expected, abs=error)
    # The mean log-probability is minus the entropy that is left.
    size = len(names)
    q = world.misaligned * 2 / 3
    left = -(1 - q) * np.log(1 - q) - q * np.log(q / 2) if q else 0
    known = dict(
        audio=np.log(3) - left if world.labels_from != 'video' else 0,
        video=np.log(4) if world.labels_from != 'audio' else 0,
    )
    assert shapley['logit'] == pytest.approx(known, abs=4 / np.sqrt(CLIPS))
    for players in found['shapley'].values():
        for key, values in players.items():
            whole, base = (
                found['coalitions'][c][key]
                for c in ('audio + spatial + temporal', 'nothing')
            )
            assert sum(values.values()) == pytest.approx(whole - base)
    for row in found['coalitions'].values():
        assert row['calibration']['error'] < 4 * np.sqrt(10 / CLIPS) / 2
    name = 'right with video alone, wrong with all'
    assert found['confusion'][name] == pytest.approx(confused, abs=error)
    test = found['helps']['audio']
    assert test['low'] <= both - video <= test['high']
    helps = world.labels_from != 'video'
    assert (test['p_value'] < 0.001) == helps
    assert sum(c['clips'] for c in found['classes'].values()) == CLIPS
    assert len(found['classes']) == size


def test_an_overconfident_model_is_found_and_calibrated():
    labels, logs = draw(ToyWorld(misaligned=0.48))
    logits = 3 * logs[frozenset(EXPERTS)]
    sure = np.exp(log_softmax(logits, axis=1))
    assert calibration(sure, labels)['error'] > 0.2
    temperature = fit_temperature(logits[:, None], labels)
    assert temperature == pytest.approx(3, rel=0.05)
    right = np.exp(log_softmax(logits / temperature, axis=1))
    assert calibration(right, labels)['error'] < 0.02


def test_bins_of_a_reliability_diagram_hold_their_clips():
    scores = np.array([0.9, 0.9, 0.55, 0.7, 0.7, 1.0, 0.75])
    probabilities = np.stack([scores, 1 - scores], axis=1)
    found = calibration(probabilities, np.array([0, 1, 0, 0, 0, 0, 0]))
    assert found['clips'] == [1, 2, 1, 2, 1]
    assert found['confidence'] == pytest.approx([0.55, 0.7, 0.75, 0.9, 1.0])
    assert found['accuracy'] == pytest.approx([1, 1, 1, 0.5, 1])
    gaps = 1 * 0.45 + 2 * 0.3 + 1 * 0.25 + 2 * 0.4 + 0
    assert found['error'] == pytest.approx(gaps / 7)


@pytest.mark.parametrize('clips', [10, 200])
def test_the_interval_holds_the_true_difference(clips):
    rng = np.random.default_rng(clips)
    hits, p = 0, (0.15, 0.05)
    for _ in range(300):
        kind = rng.choice(3, size=clips, p=[*p, 0.8])
        found = paired_test(kind != 1, kind != 0)
        assert (found['gained'], found['lost']) == (
            sum(kind == 0),
            sum(kind == 1),
        )
        hits += found['low'] <= p[0] - p[1] <= found['high']
    assert 0.92 <= hits / 300
