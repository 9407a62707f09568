# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""``--amp`` takes bfloat16 where the device computes in it."""

import pytest
import torch
from mmengine.config import Config

from ca2st_mm.engine import launch


@pytest.mark.parametrize(
    ('cuda', 'bfloat16', 'named', 'taken'),
    [
        (False, False, 'OptimWrapper', 'BFloat16OptimWrapper'),
        (False, False, 'AmpOptimWrapper', 'BFloat16OptimWrapper'),
        (True, True, 'OptimWrapper', 'BFloat16OptimWrapper'),
        (True, True, 'AmpOptimWrapper', 'AmpOptimWrapper'),
        (True, False, 'OptimWrapper', 'AmpOptimWrapper'),
        (True, False, 'BFloat16OptimWrapper', 'AmpOptimWrapper'),
    ],
)
def test_by_device_and_config(monkeypatch, cuda, bfloat16, named, taken):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: cuda)
    monkeypatch.setattr(
        torch.cuda, 'is_bf16_supported', lambda including_emulation: bfloat16
    )
    cfg = Config(dict(optim_wrapper=dict(type=named)))
    launch.enable_amp(cfg)
    assert cfg.optim_wrapper.type == taken
    scaled = cfg.optim_wrapper.get('loss_scale') == 'dynamic'
    assert scaled == (taken == 'AmpOptimWrapper')
