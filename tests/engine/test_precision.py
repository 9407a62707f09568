# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The precision that a run takes, by its config, its flags and its device."""

import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.config import Config

from ca2st_mm.engine import precision
from ca2st_mm.engine.precision import (
    UsageError,
    choose_precision,
    set_precision,
)
from ca2st_mm.registry import MODELS


def config(wrapper='OptimWrapper', **entries):
    loops = dict(val_cfg=dict(type='ValLoop'), test_cfg=dict(type='TestLoop'))
    wrapper = dict(type=wrapper, optimizer=dict(type='SGD', lr=0.1))
    return Config({'optim_wrapper': wrapper, **loops, **entries})


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


def test_a_wrapper_of_the_config_keeps_its_precision(monkeypatch, native):
    """A CPU has none with a loss scaler."""
    cfg = config('AmpOptimWrapper', precision='auto')
    with pytest.raises(UsageError, match='float16 needs a GPU'):
        set_precision(cfg)
    monkeypatch.setattr(precision, 'get_device', lambda: 'cuda')
    cfg = config('AmpOptimWrapper', precision='auto')
    assert set_precision(cfg) == 'float16'  # validation as training
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    cfg.optim_wrapper.dtype = 'bfloat16'
    assert set_precision(cfg, 'float16') == 'float16'
    assert 'dtype' not in cfg.optim_wrapper


OTHERS = {
    'DeepSpeedStrategy': dict(strategy=dict(type='DeepSpeedStrategy')),
    'mixed_precision': dict(
        strategy=dict(
            type='FSDPStrategy', model_wrapper=dict(mixed_precision='fp16')
        )
    ),
    'several optimizers': dict(optim_wrapper=dict(constructor='Own', g={})),
    'OwnWrapper': dict(
        optim_wrapper=dict(type='OwnWrapper', optimizer=dict(type='SGD'))
    ),
}


@pytest.mark.parametrize('name', OTHERS)
def test_what_has_a_precision_of_its_own_keeps_it(native, name):
    cfg = config(precision='auto', **OTHERS[name])
    before = cfg.to_dict()
    assert set_precision(cfg) is None
    assert cfg.to_dict() == before
    with pytest.raises(UsageError, match=f'{name}.* precision of its own'):
        set_precision(cfg, 'bfloat16')
    if 'optim_wrapper' in OTHERS[name]:  # a test needs none
        assert set_precision(cfg, 'bfloat16', trains=False) == 'bfloat16'


@pytest.mark.parametrize(
    'strategy', ['MultiExpertFSDPStrategy', 'mmengine.DDPStrategy']
)
@pytest.mark.parametrize('wanted', [None, 'bfloat16', 'float32'])
def test_a_strategy_under_autocast_takes_any(native, strategy, wanted):
    cfg = config(
        'mmengine.OptimWrapper',
        precision='auto',
        strategy=dict(type=strategy, model_wrapper=dict(type='W')),
    )
    expected = wanted or ('bfloat16' if native else 'float32')
    assert set_precision(cfg, wanted) == expected
    kind = cfg.optim_wrapper.type.removeprefix('mmengine.')
    assert kind == precision.WRAPPERS[expected]


@pytest.mark.parametrize('loop', [{}, dict(type='RetrievalValLoop')])
def test_any_loop_validates_as_it_trains(loop):
    cfg = config(val_cfg=loop)
    set_precision(cfg, 'bfloat16')
    assert cfg.val_cfg.fp16


def test_frozen_weights_of_bfloat16_need_mixed_precision():
    backbone = dict(frozen_dtype='bfloat16')
    for entries in ({}, dict(precision='float32')):
        cfg = config(model=dict(backbone=backbone), **entries)
        with pytest.raises(UsageError, match='frozen_dtype'):
            set_precision(cfg)
        assert set_precision(cfg, 'bfloat16') == 'bfloat16'


@pytest.mark.parametrize('kind', ['FusionHead', 'VerbNounHead', 'TSNHead'])
def test_scores_are_those_that_metrics_read(kind):
    """numpy, which AccMetric takes, has no bfloat16."""
    feats = dict(a=torch.ones(2, 4))
    one = dict(in_channels=dict(a=4))
    heads = dict(
        FusionHead=dict(num_classes=3, **one),
        VerbNounHead=dict(
            num_verbs=3, num_nouns=2, fusions=dict(verb=one, noun='verb')
        ),
        TSNHead=dict(num_classes=3, in_channels=4, average_clips='prob'),
    )
    head = MODELS.build(dict(type=kind, **heads[kind])).eval()
    if kind == 'TSNHead':
        feats = torch.ones(2, 4, 1, 1)
    samples = [ActionDataSample() for _ in range(2)]
    with precision.autocast('bfloat16', 'cpu'):
        options = dict(num_segs=1) if kind == 'TSNHead' else {}
        head.predict(feats, samples, **options)
    scores = [v for k, v in samples[0].items() if k.endswith('score')]
    assert scores and all(
        score.detach().numpy().sum() > 0.9 for score in scores
    )


@pytest.mark.parametrize('wanted', ['float16', 'half'])
def test_what_a_cpu_cannot_have_is_refused(wanted):
    with pytest.raises(UsageError, match=wanted):
        choose_precision(wanted, 'cpu')


def test_amp_takes_what_the_device_has(native):
    assert choose_precision('lower', 'cpu') == 'bfloat16'
    of_gpu = 'bfloat16' if native else 'float16'
    assert choose_precision('lower', 'cuda') == of_gpu
