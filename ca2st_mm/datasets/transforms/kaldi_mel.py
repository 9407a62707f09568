# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Kaldi's log-mel energies for a stretch of a sound.

The features of ``torchaudio.compliance.kaldi.fbank`` with
``htk_compat=True, window_type='hanning', use_energy=False, dither=0``.  That
function holds every intermediate of the whole sound at once and makes window
and filters anew each time; this one works through blocks that stay in the
processor's cache and computes the frames asked for alone.

Source: the front end of Kaldi (Povey et al., ASRU 2011).
"""

from functools import lru_cache
from typing import Optional, Tuple

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
    """Frames of a sound, one every 10 ms while a whole one fits.

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
    behind: Optional[int] = None,
) -> np.ndarray:
    """Log-mel energies of the frames ``first`` to ``behind - 1``.

    Args:
        waveform: float32 (num_samples,).
        rate: Samples per second.
        num_mels: Mel bands from 20 Hz to half the rate.
        first: First frame.
        behind: One after the last frame; None for all that follow.

    Returns:
        float32 (behind - first, num_mels).
    """
    frames = torch.from_numpy(waveform).unfold(
        0, window_samples(rate), _shift(rate)
    )
    blocks = [
        _energies(block, *_filters(rate, num_mels))
        for block in frames[first:behind].split(_BLOCK)
    ]
    return torch.cat(blocks).numpy()


def _shift(rate: int) -> int:
    return int(rate * 10.0 * 0.001)


def _energies(frames: Tensor, window: Tensor, filters: Tensor) -> Tensor:
    """Frames (n, samples) to log-mel energies (n, num_mels)."""
    frames = frames - frames.mean(1, keepdim=True)
    before = _PREEMPHASIS * frames
    frames[:, 1:] -= before[:, :-1]
    frames[:, 0] -= before[:, 0]
    frames *= window
    # Zeros up to the next power of two.
    spectrum = torch.fft.rfft(frames, n=2 * (len(filters) - 1))
    power = spectrum.real.square() + spectrum.imag.square()
    return (power @ filters).clamp_(min=_FLOOR).log_()


@lru_cache(maxsize=8)
def _filters(rate: int, num_mels: int) -> Tuple[Tensor, Tensor]:
    """The window, and the filters (frequencies, num_mels)."""
    samples = window_samples(rate)
    size = 1 << (samples - 1).bit_length()
    banks, _ = kaldi.get_mel_banks(
        num_mels, size, float(rate), _LOWEST_HZ, 0.0, 100.0, -500.0, 1.0
    )
    window = torch.hann_window(samples, periodic=False)
    return window, torch.nn.functional.pad(banks, (0, 1)).T.contiguous()
