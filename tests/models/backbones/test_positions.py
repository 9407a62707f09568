# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Position tables and times of tokens against independent computations."""

import numpy as np
import pytest
import tiny_models as tiny
import torch

from ca2st_mm.models.backbones.ast import (
    fit_spectrogram_positions,
    time_bins,
)
from ca2st_mm.models.layers.position import resize_grid, sinusoid_table
from ca2st_mm.models.necks import TimeEncoder


@pytest.mark.parametrize(
    'mode, expected',
    [
        ('bilinear', [0, 1, 3, 4]),
        # Keys' kernel with a = -0.75, edges clamped.
        ('bicubic', [-0.421875, 0.90625, 3.09375, 4.421875]),
    ],
)
def test_corners_are_not_aligned(mode, expected):
    table = torch.tensor([[0.0], [4.0]])
    found = resize_grid(table, (1, 4), (1, 2), mode).flatten().tolist()
    assert found == pytest.approx(expected)
    assert resize_grid(table, (2, 1), (2, 1), mode) is table


def test_the_squeeze_of_the_authors_blurs_what_is_not_shorter():
    table = torch.randn(12 * 10, 6)
    ours = fit_spectrogram_positions(table, (12, 10), (12, 10), 'squeeze')
    small = resize_grid(table, (8, 10), (12, 10), 'bilinear')
    expected = resize_grid(small, (12, 10), (8, 10), 'bilinear')
    assert torch.equal(ours, expected)
    shorter = (table, (12, 7), (12, 10))
    ours = fit_spectrogram_positions(*shorter, 'squeeze')
    assert torch.equal(ours, fit_spectrogram_positions(*shorter))
    with pytest.raises(ValueError, match='120 rows.*4 x 4'):
        resize_grid(table, (2, 2), (4, 4), 'bilinear')


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


@pytest.mark.parametrize(
    'columns, bins', [(39, 8), (101, 8), (9, 4), (3, 8), (5, 5), (1, 1)]
)
def test_every_column_gets_the_bin_in_which_it_starts(columns, bins):
    start = torch.arange(columns) / columns
    told = time_bins(1, columns, bins, 'frequency_major') / bins
    assert (told <= start + 1e-6).all()
    assert (start < told + 1 / bins).all()


@pytest.mark.parametrize(
    'clock, order',
    [('binned', 'frequency_major'), ('transposed', 'time_major')],
)
def test_a_config_of_version_0_1_has_its_time_bins(clock, order):
    with pytest.warns(DeprecationWarning, match=f"time_bin_order='{order}'"):
        old = tiny.build(tiny.AST, num_time_bins=2, clock=clock)
    new = tiny.build(tiny.AST, num_time_bins=2, time_bin_order=order)
    assert torch.equal(old.token_bins, new.token_bins)
    with pytest.raises(ValueError, match="'binned', 'transposed'.*'wall'"):
        tiny.build(tiny.AST, clock='wall')


def test_time_bins_of_the_reference():
    runs = torch.arange(39) // (39 // 8 + 1)
    assert torch.equal(time_bins(1, 39, 8, 'frequency_major'), runs)
    bins = torch.arange(12 * 39) // 12 // 5
    assert torch.equal(time_bins(12, 39, 8, 'time_major'), bins)


def test_times_of_audio_tokens_are_those_of_their_bin():
    expert = tiny.build(tiny.AST, num_time_bins=2)
    spans = expert.token_times(torch.tensor([[2.0, 7.0]]))
    spans = spans.reshape(tiny.ROWS, tiny.COLUMNS, 2)
    bins = time_bins(1, tiny.COLUMNS, 2, 'frequency_major')
    assert torch.equal(spans[0, :, 0], 2 + 2.5 * bins)
    assert torch.equal(spans[..., 1], spans[..., 0] + 2.5)
    assert torch.equal(spans, spans[:1].expand_as(spans))
