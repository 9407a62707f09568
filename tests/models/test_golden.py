# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Our models equal the reference models: logits, features, gradients."""

import numpy as np
import pytest
import torch
from golden_cases import BASE, TINY, GoldenCase, VerbNounCase, normal

from ca2st_mm.checkpoints import detect_layout, to_reference

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in BASE]


def by_name(logits):
    if isinstance(logits, dict):
        return {f'logits_{task}': value for task, value in logits.items()}
    return dict(logits=logits)


def relative(ours, expected):
    return np.linalg.norm(ours - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize('name', TINY + SLOW)
def test_logits(name):
    case = GoldenCase(name)
    with torch.no_grad():
        logits = by_name(case.logits(case.model()))
    for key, value in logits.items():
        expected = case.expected[key]
        assert np.abs(value.numpy() - expected).max() < 1e-4
        assert relative(value.numpy(), expected) < 5e-6


@pytest.mark.parametrize('name', TINY + SLOW)
def test_logits_float64(name):
    case = GoldenCase(name)
    model = case.model(torch.float64)
    with torch.no_grad():
        logits = by_name(case.logits(model, torch.float64))
    for key, value in logits.items():
        expected = case.expected[f'{key}_float64']
        assert relative(value.numpy(), expected) < 1e-9


@pytest.mark.parametrize('name', TINY + SLOW)
def test_bfloat16_keeps_the_direction_of_the_logits(name):
    """Of what tells the classes apart: the mean of a clip's logits is not."""
    case = GoldenCase(name)
    model = case.model()
    with torch.no_grad():
        full = by_name(case.logits(model))
        with torch.autocast('cpu', dtype=torch.bfloat16):
            half = by_name(case.logits(model))
    for key, value in half.items():
        a, b = (x - x.mean(-1, True) for x in (value.float(), full[key]))
        assert value.dtype == torch.bfloat16
        assert torch.cosine_similarity(a, b, dim=-1).min() > 0.999


@pytest.mark.parametrize('name', TINY + SLOW)
def test_pooled_features(name):
    case = GoldenCase(name)
    with torch.no_grad():
        feats = case.model().backbone(**case.inputs())
    assert set(feats) == set(case.spec['streams'])
    for expert, value in feats.items():
        expected = case.expected[f'pooled.{expert}']
        assert relative(value.numpy(), expected) < 5e-6


@pytest.mark.parametrize('name', TINY + SLOW)
def test_embeddings(name):
    case = GoldenCase(name)
    backbone = case.model().backbone
    inputs = case.inputs()
    for expert in case.spec['streams']:
        with torch.no_grad():
            tokens = backbone.experts[expert].embed(
                inputs[backbone.inputs[expert]]
            )
        flat = tokens.flatten(1, 2)
        picked = flat[:, [0, flat.shape[1] // 2, -1]].numpy()
        assert relative(picked, case.expected[f'embed.{expert}.sample']) < 5e-6


@pytest.mark.parametrize('name', [n for n in TINY if n.startswith('ca2st')])
def test_verbs_and_nouns_of_ca2st(name):
    case = VerbNounCase(name)
    with torch.no_grad():
        found = case.logits(case.model())
    expected = case.expected_logits()
    assert found.keys() == expected.keys()
    for task, value in found.items():
        assert relative(value.numpy(), expected[task]) < 5e-6


def reference_gradients(case, model, logits):
    target = torch.zeros(2, dtype=torch.long)
    loss = sum(
        torch.nn.functional.cross_entropy(value, target[: len(value)])
        for value in by_name(logits).values()
    )
    loss.backward()
    grads = {
        key: value.grad if value.grad is not None else torch.zeros_like(value)
        for key, value in model.named_parameters()
    }
    layout = detect_layout(case.keys)
    return loss, to_reference(grads, layout, check_key_bias=False)


@pytest.mark.parametrize('name', TINY + SLOW)
def test_gradients(name):
    case = GoldenCase(name)
    model = case.model()
    logits = case.logits(model)
    loss, grads = reference_gradients(case, model, logits)
    assert loss.item() == pytest.approx(float(case.grads['loss']), rel=1e-5)
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
        norm = grad.norm().item()
        limit = 1e-3 * norms[key] + 1e-9 * largest
        assert abs(norm - norms[key]) <= limit, key
        probe = normal(f'probe.{key}', case.keys[key]).astype(np.float64)
        projected = (grad.numpy() * probe).sum()
        limit = 1e-4 * norms[key] + 1e-6 * largest
        assert abs(projected - probes[key]) <= limit, key


def broken(case, change):
    """Relative change of the logits after a deliberate mistake."""
    cfg = case.backbone()
    change(cfg)
    case.backbone = lambda: cfg
    model = case.model()
    with torch.no_grad():
        logits = case.logits(model).numpy()
    return relative(logits, case.expected['logits'])


def test_wrong_link_order_is_seen():
    def swap(cfg):
        cfg['links'][1:] = cfg['links'][:0:-1]

    assert broken(GoldenCase('ca2st_tiny_share'), swap) > 1e-4


def test_wrong_exchange_is_seen():
    def additive(cfg):
        cfg['exchange'] = 'additive'

    assert broken(GoldenCase('ca2st_tiny_share'), additive) > 1e-4


def test_correct_audio_clock_is_not_the_reference():
    def correct(cfg):
        cfg['experts']['audio']['clock'] = 'binned'

    assert broken(GoldenCase('cava_tiny_time'), correct) > 1e-4


def test_wrong_axis_does_not_load():
    case = GoldenCase('cast_tiny_single')
    cfg = case.backbone()
    cfg['links'][0]['axes'] = ('space', 'time')
    case.backbone = lambda: cfg
    with pytest.raises(RuntimeError, match='_table'):
        case.model()


def test_missing_position_table_does_not_load():
    case = GoldenCase('cast_tiny_single')
    cfg = case.backbone()
    cfg['links'][0]['position'] = None
    case.backbone = lambda: cfg
    with pytest.raises(RuntimeError, match='_table'):
        case.model()
