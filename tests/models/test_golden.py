# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Our models equal the reference models: logits, features, gradients."""

import numpy as np
import pytest
import torch
from golden_cases import BASE, TINY, GoldenCase, VerbNounCase, normal

from ca2st_mm.checkpoints import to_reference

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in BASE]


def by_name(logits):
    if isinstance(logits, dict):
        return {f'logits_{task}': value for task, value in logits.items()}
    return dict(logits=logits)


def relative(ours, expected):
    return np.linalg.norm(ours - expected) / np.linalg.norm(expected)


@pytest.fixture(scope='module', params=TINY + SLOW)
def case(request):
    return GoldenCase(request.param)


@pytest.fixture(scope='module')
def model(case):
    return case.model()


def test_logits_and_features(case, model):
    with torch.no_grad():
        feats = model.backbone(**case.inputs())
        logits = by_name(model.cls_head(feats))
    assert set(feats) == set(case.spec['streams'])
    for expert, value in feats.items():
        expected = case.expected[f'pooled.{expert}']
        assert relative(value.numpy(), expected) < 5e-6
    for key, value in logits.items():
        expected = case.expected[key]
        assert np.abs(value.numpy() - expected).max() < 1e-4
        assert relative(value.numpy(), expected) < 5e-6


def test_logits_float64(case):
    with torch.no_grad():
        logits = by_name(case.logits(case.model(torch.float64), torch.float64))
    for key, value in logits.items():
        expected = case.expected[f'{key}_float64']
        assert relative(value.numpy(), expected) < 1e-9


def test_bfloat16_keeps_the_direction_of_the_logits(case, model):
    """Of what tells the classes apart: the mean of a clip's logits is not."""
    with torch.no_grad():
        full = by_name(case.logits(model))
        with torch.autocast('cpu', dtype=torch.bfloat16):
            half = by_name(case.logits(model))
    for key, value in half.items():
        a, b = (x - x.mean(-1, True) for x in (value.float(), full[key]))
        assert value.dtype == torch.bfloat16
        assert torch.cosine_similarity(a, b, dim=-1).min() > 0.999


def test_gradients(case, model):
    model.zero_grad()
    logits = by_name(case.logits(model)).values()
    target = torch.zeros(2, dtype=torch.long)
    loss = sum(
        torch.nn.functional.cross_entropy(value, target[: len(value)])
        for value in logits
    )
    loss.backward()
    assert loss.item() == pytest.approx(float(case.grads['loss']), rel=1e-5)
    grads = {
        key: torch.zeros_like(value) if value.grad is None else value.grad
        for key, value in model.named_parameters()
    }
    grads = to_reference(grads, check_key_bias=False)
    names = [str(n) for n in case.grads['names']]
    norms = dict(zip(names, case.grads['l2'], strict=True))
    probes = dict(zip(names, case.grads['probe'], strict=True))
    largest = max(norms.values())
    zero = set(case.spec['parameters_with_exactly_zero_gradient'])
    for key in names:
        if key.startswith('audio_ln_post') or key not in grads:
            assert key in zero, f'{key} has a gradient in the reference only'
            continue
        grad = grads[key].double()
        limit = 1e-3 * norms[key] + 1e-9 * largest
        assert abs(grad.norm().item() - norms[key]) <= limit, key
        probe = normal(f'probe.{key}', case.keys[key]).astype(np.float64)
        projected = (grad.numpy() * probe).sum()
        limit = 1e-4 * norms[key] + 1e-6 * largest
        assert abs(projected - probes[key]) <= limit, key


@pytest.mark.parametrize('name', [n for n in TINY if n.startswith('ca2st')])
def test_verbs_and_nouns_of_ca2st(name):
    case = VerbNounCase(name)
    with torch.no_grad():
        found = case.logits(case.model())
    expected = case.expected_logits()
    assert found.keys() == expected.keys()
    for task, value in found.items():
        assert relative(value.numpy(), expected[task]) < 5e-6
