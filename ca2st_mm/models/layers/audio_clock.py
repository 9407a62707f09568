# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Which moment a spectrogram token belongs to.

A spectrogram expert flattens its grid frequency-major: token f * columns + c.
Its window is cut into equal bins and every column takes the span of its bin.
"""

import torch
from torch import Tensor


def _bin_spans(window: Tensor, bins: Tensor, num_bins: int) -> Tensor:
    start, end = window[:, :1], window[:, 1:]
    length = (end - start) / num_bins
    left = start + bins * length  # (B, N)
    return torch.stack((left, left + length), dim=-1)


def column_bins(num_columns: int, num_bins: int) -> Tensor:
    """Bin in which each column starts, (num_columns,)."""
    return torch.arange(num_columns) * num_bins // num_columns


def binned_clock(num_rows: int, num_columns: int, num_bins: int) -> Tensor:
    """Bin of each frequency-major token, (num_rows * num_columns,)."""
    return column_bins(num_columns, num_bins).repeat(num_rows)


def transposed_clock(num_rows: int, num_columns: int, num_bins: int) -> Tensor:
    """The reference's bins: laid out time-major on frequency-major tokens.

    Token n takes the bin of column n // rows, so the code follows frequency
    more than time.  Released CAVA and CA2ST checkpoints were trained so.
    """
    run = num_columns // num_bins + 1
    return (torch.arange(num_columns) // run).repeat_interleave(num_rows)


CLOCKS = {'binned': binned_clock, 'transposed': transposed_clock}


def token_spans(window: Tensor, bins: Tensor, num_bins: int) -> Tensor:
    """Spans of audio tokens.

    Args:
        window: Start and end of the spectrogram, (B, 2), seconds.
        bins: Bin of each token, (N,).
        num_bins: Bins the window is cut into.

    Returns:
        (B, 1, N, 2), seconds.
    """
    return _bin_spans(window, bins.to(window), num_bins)[:, None]
