# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The two functions that reshape tokens."""

import pytest
import torch

from ca2st_mm.models.layers import fold, unfold

B, T, N, C = 2, 3, 5, 4


@pytest.mark.parametrize('axis', ['time', 'space', 'all'])
def test_unfold_undoes_fold(axis):
    tokens = torch.randn(B, T, N, C)
    assert torch.equal(unfold(fold(tokens, axis), axis, T, N), tokens)


@pytest.mark.parametrize(
    'axis, shape',
    [
        ('time', (B * N, T, C)),
        ('space', (B * T, N, C)),
        ('all', (B, T * N, C)),
    ],
)
def test_sequences_run_along_the_axis(axis, shape):
    assert fold(torch.randn(B, T, N, C), axis).shape == shape


def test_a_row_along_time_is_one_position():
    position = torch.arange(N).view(1, 1, N, 1).expand(B, T, N, C)
    rows = fold(position, 'time')
    assert (rows == rows[:, :1, :1]).all()
    assert torch.equal(rows[:N, 0, 0], torch.arange(N))


def test_a_row_along_space_is_one_step():
    step = torch.arange(T).view(1, T, 1, 1).expand(B, T, N, C)
    rows = fold(step, 'space')
    assert (rows == rows[:, :1, :1]).all()
    assert torch.equal(rows[:T, 0, 0], torch.arange(T))


@pytest.mark.parametrize('function', [fold, lambda x, a: unfold(x, a, T, N)])
def test_unknown_axis_is_named(function):
    with pytest.raises(ValueError, match="'width'"):
        function(torch.randn(B, T, N, C), 'width')
