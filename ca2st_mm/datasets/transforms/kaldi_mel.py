# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Kaldi's log-mel energies for a part of a track.

The features of ``torchaudio.compliance.kaldi.fbank`` with
``htk_compat=True, window_type='hanning', use_energy=False, dither=0``.  That
function holds every intermediate of the whole track at once and makes window
and filters anew each time; this one works through blocks that stay in the
processor's cache and computes the frames asked for alone.

Source: the front end of Kaldi (Povey et al., ASRU 2011).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchaudio.compliance import kaldi

# Frames of a block: 128 of 2048 values are a megabyte.
_BLOCK = 128
_PREEMPHASIS = 0.97
_LOWEST_HZ = 20.0
_FLOOR = float(np.finfo(np.float32).eps)


def window_samples(rate: int) -> int:
    """Samples of one frame, 25 ms.

    Args:
        rate: Samples per second.
    """
    return int(rate * 25.0 * 0.001)


def count_frames(samples: int, rate: int) -> int:
    """Frames of a track, one every 10 ms while a whole one fits.

    Args:
        samples: Its length, at least one frame.
        rate: Samples per second.
    """
    return 1 + (samples - window_samples(rate)) // _shift(rate)


def log_mel(
    waveform: np.ndarray,
    rate: int,
    num_mels: int,
    first: int = 0,
    stop: int | None = None,
) -> np.ndarray:
    """Log-mel energies of the frames ``first`` to ``stop - 1``.

    Args:
        waveform: float32 (num_samples,).
        rate: Samples per second.
        num_mels: Mel bands from 20 Hz to half the rate.
        first: First frame.
        stop: One after the last frame; None for all that follow.

    Returns:
        float32 (stop - first, num_mels).
    """
    frames = split_frames(torch.from_numpy(waveform), rate)
    blocks = [
        energies(block, rate, num_mels)
        for block in frames[first:stop].split(_BLOCK)
    ]
    return torch.cat(blocks).numpy()


def _shift(rate: int) -> int:
    return int(rate * 10.0 * 0.001)


def split_frames(waveform: Tensor, rate: int) -> Tensor:
    """The frames of a track, a view of it, (num_frames, window_samples).

    Args:
        waveform: (num_samples,), at least one frame long.
        rate: Samples per second.
    """
    return waveform.unfold(0, window_samples(rate), _shift(rate))


def energies(frames: Tensor, rate: int, num_mels: int) -> Tensor:
    """Log-mel energies of frames, of one track or of a batch of them.

    Args:
        frames: Float (num_frames, window_samples).
        rate: Samples per second.
        num_mels: Mel bands.

    Returns:
        (num_frames, num_mels).
    """
    front = _front(rate, num_mels)
    frames = frames - frames.mean(1, keepdim=True)
    before = _PREEMPHASIS * frames
    # The first sample has nothing before it, and the window is 0 there.
    frames[:, 1:] -= before[:, :-1]
    frames *= front.window
    spectrum = torch.fft.rfft(frames, n=front.size)
    power = spectrum.real.square() + spectrum.imag.square()
    mels = power.new_zeros(len(frames), num_mels)
    for band in front.bands:
        mels[:, band.mels] += power[:, band.bins] @ band.weights
    return mels.clamp_(min=_FLOOR).log_()


class _Band(NamedTuple):
    """Neighbouring frequencies and the few filters that touch them."""

    bins: slice
    mels: slice
    weights: Tensor


class _Front(NamedTuple):
    """What depends on the rate alone."""

    window: Tensor
    size: int
    bands: list[_Band]


@lru_cache(maxsize=8)
def _front(rate: int, num_mels: int) -> _Front:
    """Window, size of the transform (a power of two), and filters."""
    samples = window_samples(rate)
    size = 1 << (samples - 1).bit_length()
    banks, _ = kaldi.get_mel_banks(
        num_mels, size, float(rate), _LOWEST_HZ, 0.0, 100.0, -500.0, 1.0
    )
    bands = []
    # Nearly all of the table is zeros, for filters are narrow.
    for number, part in enumerate(banks.split(size // 16, dim=1)):
        touched = torch.nonzero(part.sum(1))
        if len(touched):
            mels = slice(int(touched[0]), int(touched[-1]) + 1)
            first = number * (size // 16)
            bins = slice(first, first + part.shape[1])
            bands.append(_Band(bins, mels, part[mels].T.contiguous()))
    return _Front(torch.hann_window(samples, periodic=False), size, bands)
