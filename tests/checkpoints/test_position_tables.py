# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Converted position tables on other grids, against plain loops.

The loops work on single entries with the textbook kernels; pixel centres are
mapped as half-integers and the border is repeated.
"""

import math

import numpy as np
import pytest
import torch
from layouts import published
from mmaction.registry import MODELS

from ca2st_mm.checkpoints import LAYOUTS

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


def arch(**changes):
    return dict(
        embed_dims=CHANNELS,
        num_layers=3,
        num_heads=2,
        feedforward_channels=6,
        patch_size=16,
        **changes,
    )


def fitted(expert, state_dict):
    expert.fit_state_dict(state_dict)
    return state_dict['pos_embed'][0].double().numpy()


@pytest.mark.parametrize('name', ['clip_openai', 'clip_hf'])
@pytest.mark.parametrize('side', [2, 4, 7])
def test_image_grid(name, side):
    weights = published(name)
    key = next(k for k in weights if 'position' in k and 'text' not in k)
    weights[key] = torch.randn(1 + 4 * 4, CHANNELS)
    conversion = LAYOUTS[name].convert(weights)
    expert = MODELS.build(
        dict(type='CLIPExpert', arch=arch(), img_size=16 * side)
    )
    table = fitted(expert, conversion.state_dict)
    old = weights[key].double().numpy()
    expected = resized_grid(old[1:].reshape(4, 4, -1), side, side, cubic)
    assert np.array_equal(table[0], old[0])
    assert np.abs(table[1:] - expected.reshape(-1, CHANNELS)).max() < 1e-5


MELS, FRAMES = 76, 96  # 7 rows and 9 columns of patches
POSITIONS = dict(
    ast_official='v.pos_embed', ast_hf='embeddings.position_embeddings'
)


@pytest.mark.parametrize('name', sorted(POSITIONS))
@pytest.mark.parametrize(
    'rows, columns',
    [(7, 9), (7, 4), (7, 5), (3, 9), (4, 6), (7, 14), (10, 9), (9, 12)],
)
def test_spectrogram_grid(name, rows, columns):
    weights = published(name)
    old = torch.randn(1, 2 + 7 * 9, CHANNELS)
    weights[POSITIONS[name]] = old
    conversion = LAYOUTS[name].convert(weights)
    expert = MODELS.build(
        dict(
            type='ASTExpert',
            arch=arch(pretrained_mels=MELS),
            spec_size=(10 * columns + 6, 10 * rows + 6),
        )
    )
    assert expert.grid == (rows, columns)
    table = fitted(expert, conversion.state_dict)
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
    weights = published('ast_official')
    weights['v.pos_embed'] = torch.randn(1, 2 + 12 * 101, CHANNELS)
    conversion = LAYOUTS['ast_official'].convert(weights)
    expert = MODELS.build(
        dict(
            type='ASTExpert',
            arch=arch(pretrained_mels=128),
            spec_size=(400, 128),
        )
    )
    table = fitted(expert, conversion.state_dict)[2:]
    for row in range(12):
        for column in range(39):
            theirs = 2 + row * 101 + 31 + column
            expected = weights['v.pos_embed'][0, theirs].double().numpy()
            assert np.array_equal(table[row * 39 + column], expected)
