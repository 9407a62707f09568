# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Stochastic depth: what is dropped, and when."""

import pytest
import torch

from ca2st_mm.models.layers import DropPath, TokenDropPath
from ca2st_mm.models.layers.drop_path import build_drop_path, drop_path_rates

SHAPE = (20, 3, 30, 4)


def dropped(module):
    """Which entries are zero, after checking the rescale of the others."""
    out = module.train()(torch.ones(SHAPE))
    kept = out[out != 0]
    assert torch.allclose(kept, torch.full_like(kept, 2.0))
    return out == 0


def test_whole_samples_drop():
    zero = dropped(DropPath(0.5))
    by_sample = zero.flatten(1)
    assert (by_sample.all(1) | ~by_sample.any(1)).all()
    assert 0 < by_sample.all(1).sum() < SHAPE[0]


def test_whole_token_positions_drop():
    zero = dropped(TokenDropPath(0.5))
    by_position = zero.transpose(0, 2).flatten(1)
    assert (by_position.all(1) | ~by_position.any(1)).all()
    assert 0 < by_position.all(1).sum() < SHAPE[2]


@pytest.mark.parametrize('unit', ['sample', 'token'])
def test_nothing_drops_in_eval(unit):
    tokens = torch.randn(SHAPE)
    assert build_drop_path(0.9, unit).eval()(tokens) is tokens


def test_rates_grow_linearly_from_zero():
    assert drop_path_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0]


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="'frame'"):
        build_drop_path(0.1, 'frame')
    with pytest.raises(ValueError, match='1.5'):
        DropPath(1.5)
