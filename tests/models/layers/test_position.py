# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Position tables against computations that share no code with ours."""

import numpy as np
import pytest
import torch

from ca2st_mm.models.layers.grid_position import TimeEncoder
from ca2st_mm.models.layers.position import (
    fit_spectrogram_positions,
    resize_grid,
    sinusoid_table,
    squeeze_spectrogram_positions,
)


def weights_1d(new, old, kernel, reach):
    """Interpolation matrix (new, old), corners not aligned, edges clamped."""
    matrix = np.zeros((new, old))
    for i in range(new):
        center = (i + 0.5) * old / new - 0.5
        first = int(np.floor(center)) - reach + 1
        for j in range(first, first + 2 * reach):
            matrix[i, min(max(j, 0), old - 1)] += kernel(abs(center - j))
    return matrix


def linear(x):
    return max(0.0, 1 - x)


def cubic(x, a=-0.75):
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def resized(table, new, old, mode):
    kernel, reach = dict(bilinear=(linear, 1), bicubic=(cubic, 2))[mode]
    grid = table.numpy().astype(np.float64).reshape(*old, -1)
    rows = weights_1d(new[0], old[0], kernel, reach)
    columns = weights_1d(new[1], old[1], kernel, reach)
    out = np.einsum('ia,jb,abc->ijc', rows, columns, grid)
    return torch.from_numpy(out).float().flatten(0, 1)


@pytest.mark.parametrize('mode', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('new', [(4, 9), (7, 3), (3, 5)])
def test_resize_against_numpy(mode, new):
    table = torch.randn(15, 6)
    ours = resize_grid(table, new, (3, 5), mode)
    expected = resized(table, new, (3, 5), mode)
    assert torch.allclose(ours, expected, atol=1e-5)


def test_the_same_grid_is_left_alone():
    table = torch.randn(15, 6)
    assert resize_grid(table, (3, 5), (3, 5), 'bicubic') is table


def test_a_table_of_another_grid_raises():
    with pytest.raises(ValueError, match='15 rows.*4 x 4'):
        resize_grid(torch.randn(15, 6), (2, 2), (4, 4), 'bicubic')


def test_a_shorter_spectrogram_takes_the_middle():
    grid = np.random.default_rng(0).standard_normal((12, 101, 6))
    table = torch.from_numpy(grid).float().flatten(0, 1)
    ours = fit_spectrogram_positions(table, (12, 39), (12, 101))
    middle = torch.from_numpy(grid[:, 31:70]).float().flatten(0, 1)
    assert torch.equal(ours, middle)


def test_fewer_mel_bins_take_the_middle():
    grid = torch.randn(12, 10, 6)
    ours = fit_spectrogram_positions(grid.flatten(0, 1), (4, 10), (12, 10))
    assert torch.equal(ours, grid[4:8].flatten(0, 1))


def test_a_longer_spectrogram_is_stretched():
    table = torch.randn(12 * 10, 6)
    ours = fit_spectrogram_positions(table, (12, 15), (12, 10))
    expected = resized(table, (12, 15), (12, 10), 'bilinear')
    assert torch.allclose(ours, expected, atol=1e-5)


def test_the_same_spectrogram_keeps_its_table():
    table = torch.randn(12 * 10, 6)
    fitted = fit_spectrogram_positions(table, (12, 10), (12, 10))
    assert torch.equal(fitted, table)


def test_the_squeeze_of_the_authors_blurs_it():
    table = torch.randn(12 * 10, 6)
    ours = squeeze_spectrogram_positions(table, (12, 10), (12, 10))
    small = resized(table, (8, 10), (12, 10), 'bilinear')
    expected = resized(small, (12, 10), (8, 10), 'bilinear')
    assert torch.allclose(ours, expected, atol=1e-5)
    assert not torch.allclose(ours, table, atol=1e-2)


def test_the_squeeze_leaves_shorter_ones_alone():
    table = torch.randn(12 * 10, 6)
    arguments = (table, (12, 7), (12, 10))
    assert torch.equal(
        squeeze_spectrogram_positions(*arguments),
        fit_spectrogram_positions(*arguments),
    )


def test_sinusoids_one_by_one():
    table = sinusoid_table(6, 8)
    for p in range(6):
        for j in range(8):
            angle = p / 10000 ** (2 * (j // 2) / 8)
            value = np.sin(angle) if j % 2 == 0 else np.cos(angle)
            assert table[p, j].item() == pytest.approx(value, abs=1e-7)


def test_times_late_in_a_file_stay_apart_under_autocast():
    encoder = TimeEncoder(16)
    late = torch.tensor([[1800.0, 1800.1], [1800.3, 1800.4]])
    expected = encoder(late)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        codes = encoder(late)
    assert torch.equal(codes, expected)
    assert not torch.equal(codes[0], codes[1])
