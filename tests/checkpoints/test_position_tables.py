# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Converted position tables on other grids, against plain loops.

The loops work on single entries with the textbook kernels; pixel centres are
mapped as half-integers and the border is repeated.
"""

import math

import numpy as np
import pytest
import torch
from mmaction.registry import MODELS

import ca2st_mm  # noqa: F401

CHANNELS = 4


def cubic(distance, a=-0.75):
    """Keys' kernel; image libraries differ in ``a``, torch takes -0.75."""
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    if d < 2:
        return a * (d**3 - 5 * d**2 + 8 * d - 4)
    return 0.0


def linear(distance):
    return max(0.0, 1 - abs(distance))


def resized(row, size, kernel):
    """One line of a grid (length, C) at another length."""
    out = np.zeros((size, row.shape[1]))
    for i in range(size):
        centre = (i + 0.5) * len(row) / size - 0.5
        for j in range(math.floor(centre) - 1, math.floor(centre) + 3):
            nearest = min(max(j, 0), len(row) - 1)
            out[i] += kernel(centre - j) * row[nearest]
    return out


def resized_grid(grid, rows, columns, kernel):
    wide = np.stack([resized(line, columns, kernel) for line in grid])
    tall = [resized(wide[:, c], rows, kernel) for c in range(columns)]
    return np.stack(tall, axis=1)


def fitted(config, table):
    """What an expert makes of a table of a checkpoint."""
    arch = dict(
        embed_dims=CHANNELS,
        num_layers=1,
        num_heads=2,
        feedforward_channels=6,
        patch_size=16,
    )
    arch.update(config.pop('arch', {}))
    state_dict = dict(pos_embed=table)
    MODELS.build(dict(config, arch=arch)).fit_state_dict(state_dict)
    return state_dict['pos_embed'][0].double().numpy()


@pytest.mark.parametrize('side', [2, 4, 7])
def test_image_grid(side):
    old = torch.randn(1, 1 + 4 * 4, CHANNELS)
    table = fitted(dict(type='CLIPExpert', img_size=16 * side), old)
    old = old[0].double().numpy()
    expected = resized_grid(old[1:].reshape(4, 4, -1), side, side, cubic)
    assert np.array_equal(table[0], old[0])
    assert np.abs(table[1:] - expected.reshape(-1, CHANNELS)).max() < 1e-5


MELS = 76  # 7 rows of patches


@pytest.mark.parametrize(
    'rows, columns',
    [(7, 9), (7, 4), (7, 5), (3, 9), (4, 6), (7, 14), (10, 9), (9, 12)],
)
def test_spectrogram_grid(rows, columns):
    old = torch.randn(1, 2 + 7 * 9, CHANNELS)
    size = (10 * columns + 6, 10 * rows + 6)
    table = fitted(
        dict(
            type='ASTExpert', arch=dict(pretrained_mels=MELS), spec_size=size
        ),
        old,
    )
    old = old[0].double().numpy()
    grid = old[2:].reshape(7, 9, CHANNELS)
    # Shorter: cut from the middle. Longer: stretched.
    top, left = 3 - rows // 2, 4 - columns // 2
    if rows < 7:
        grid = grid[top : top + rows]
    if columns < 9:
        grid = grid[:, left : left + columns]
    expected = resized_grid(grid, rows, columns, linear)
    assert np.array_equal(table[:2], old[:2])
    assert np.abs(table[2:] - expected.reshape(-1, CHANNELS)).max() < 1e-5


def test_four_seconds_of_audioset_positions():
    """The authors' 400 frames take columns 31 to 69 of the 101."""
    old = torch.randn(1, 2 + 12 * 101, CHANNELS)
    table = fitted(dict(type='ASTExpert', spec_size=(400, 128)), old)[2:]
    grid = old[0, 2:].double().numpy().reshape(12, 101, CHANNELS)
    assert np.array_equal(table, grid[:, 31:70].reshape(-1, CHANNELS))
