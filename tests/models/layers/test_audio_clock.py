# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Which moment a spectrogram token is told to come from."""

import pytest
import torch
from tiny_models import AST, COLUMNS, ROWS, build, randomize

from ca2st_mm.models.layers import TimeEncoder
from ca2st_mm.models.layers.audio_clock import binned_clock, transposed_clock


def codes_by_column(clock):
    """Codes of the tiny AST, (B, rows, columns, C)."""
    expert = build(AST, clock=clock, num_time_bins=2)
    window = torch.tensor([[0.0, 4.0], [10.0, 11.0]])
    encoder = randomize(TimeEncoder(12))
    codes = encoder(expert.token_times(window))
    return codes.reshape(2, ROWS, COLUMNS, 12)


def test_all_patches_of_a_time_bin_get_the_same_code():
    codes = codes_by_column('binned')
    assert torch.equal(codes, codes[:, :1].expand_as(codes))
    bins = binned_clock(1, COLUMNS, 2)
    for time_bin in (0, 1):
        own = codes[:, :, bins == time_bin].flatten(1, 2)
        assert torch.equal(own, own[:, :1].expand_as(own))
    assert not torch.allclose(codes[:, 0, 0], codes[:, 0, -1])


def test_the_transposed_clock_mixes_frequency_into_time():
    codes = codes_by_column('transposed')
    assert not torch.allclose(codes[:, 0], codes[:, -1])


@pytest.mark.parametrize(
    'columns, bins', [(39, 8), (101, 8), (9, 4), (3, 8), (5, 5), (1, 1)]
)
def test_every_column_is_told_a_time_at_which_it_sounds(columns, bins):
    start = torch.arange(columns) / columns
    told = binned_clock(1, columns, bins) / bins
    assert (told <= start + 1e-6).all()
    assert (start < told + 1 / bins).all()


def test_the_binned_clock_agrees_with_the_reference_runs():
    runs = torch.arange(39) // (39 // 8 + 1)
    assert torch.equal(binned_clock(1, 39, 8), runs)


def test_the_transposed_clock_is_the_reference_layout():
    bins = transposed_clock(12, 39, 8)
    expected = torch.arange(12 * 39) // 12 // 5
    assert torch.equal(bins, expected)


def test_spans_tile_the_window():
    spans = build(AST).token_times(torch.tensor([[2.0, 7.0]]))
    first_row = spans[0, 0, :COLUMNS]
    edges = torch.linspace(2, 7, COLUMNS + 1)
    assert torch.allclose(first_row[:, 0], edges[:-1])
    assert torch.allclose(first_row[:, 1], edges[1:])
