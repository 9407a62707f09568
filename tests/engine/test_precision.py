# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The precision that a run takes, by its config, its flags and its device."""

import pytest
import torch
from mmengine.config import Config
from torch import nn

from ca2st_mm.engine import precision
from ca2st_mm.engine.precision import (
    UsageError,
    choose_precision,
    lower_precision,
    set_precision,
)
from ca2st_mm.registry import OPTIM_WRAPPERS

OWN = dict(type='DeepSpeedStrategy')


def config(wrapper='OptimWrapper', **entries):
    loops = {
        f'{name}_cfg': dict(type=f'{name.title()}Loop')
        for name in ('val', 'test')
    }
    return Config(dict(optim_wrapper=dict(type=wrapper), **loops, **entries))


@pytest.fixture(autouse=True)
def _default_type():
    before = {kind: torch.get_autocast_dtype(kind) for kind in ('cpu', 'cuda')}
    yield
    for kind, dtype in before.items():
        torch.set_autocast_dtype(kind, dtype)


@pytest.fixture(params=[True, False], ids=['native', 'emulated'])
def native(request, monkeypatch):
    """Whether the hardware multiplies bfloat16."""
    monkeypatch.setattr(
        precision, 'multiplies_bfloat16', lambda device: request.param
    )
    return request.param


def test_auto_asks_the_hardware(native):
    expected = 'bfloat16' if native else 'float32'
    cfg = config(precision='auto')
    assert set_precision(cfg) == expected
    assert cfg.optim_wrapper.type == (
        'BFloat16OptimWrapper' if native else 'OptimWrapper'
    )
    assert cfg.val_cfg.fp16 == cfg.test_cfg.fp16 == native


@pytest.mark.parametrize('wanted', ['float32', 'bfloat16'])
def test_the_flag_comes_before_the_config(native, wanted):
    for cfg in (config(), config('AmpOptimWrapper', precision='auto')):
        assert set_precision(cfg, wanted) == wanted
        assert cfg.test_cfg.fp16 == (wanted == 'bfloat16')
        assert cfg.optim_wrapper.type == precision.WRAPPERS[wanted]


def test_a_config_that_says_nothing_runs_as_written(native):
    cfg = config('AmpOptimWrapper')
    before = cfg.to_dict()
    assert set_precision(cfg) is None
    assert cfg.to_dict() == before


def test_a_wrapper_or_strategy_of_the_config_keeps_its_precision(native):
    cfg = config('AmpOptimWrapper', precision='auto')
    set_precision(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert set_precision(config(precision='auto', strategy=OWN)) is None
    with pytest.raises(UsageError, match='precision of its own'):
        set_precision(config(strategy=OWN), 'bfloat16')


@pytest.mark.parametrize('wanted', ['float16', 'half'])
def test_what_a_cpu_cannot_have_is_refused(wanted):
    with pytest.raises(UsageError, match=wanted):
        choose_precision(wanted, 'cpu')


@pytest.mark.parametrize(
    ('device', 'named', 'taken'),
    [
        ('cpu', 'OptimWrapper', {'bfloat16'}),
        ('cpu', 'AmpOptimWrapper', {'bfloat16'}),
        ('cuda', 'OptimWrapper', {'bfloat16', 'float16'}),
        ('cuda', 'AmpOptimWrapper', {'float16'}),
    ],
)
def test_amp_takes_what_the_device_has(
    monkeypatch, native, device, named, taken
):
    monkeypatch.setattr(precision, 'get_device', lambda: device)
    found = lower_precision(config(named))
    assert found == ('bfloat16' if native else 'float16') or len(taken) == 1
    assert found in taken


def test_bfloat16_steps_are_those_of_float32():
    """Two micro-batches, on the CPU, as exact as bfloat16 is."""
    data = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    results = {}
    for kind in ('OptimWrapper', 'BFloat16OptimWrapper'):
        torch.manual_seed(1)
        model = nn.Linear(4, 3)
        wrapper = OPTIM_WRAPPERS.build(
            dict(
                type=kind,
                accumulative_counts=2,
                optimizer=torch.optim.SGD(model.parameters(), lr=0.5),
            )
        )
        wrapper.initialize_count_status(model, 0, 2)
        start = model.weight.detach().clone()
        for chunk in data.chunk(2):
            with wrapper.optim_context(model):
                out = model(chunk)
            assert (out.dtype == torch.bfloat16) == (kind != 'OptimWrapper')
            wrapper.update_params(out.float().square().mean())
        results[kind] = model.weight.detach() - start
    torch.testing.assert_close(*results.values(), rtol=0.05, atol=1e-2)
    assert results['OptimWrapper'].abs().max() > 0.05
