# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Augmentations and corruptions of audio.

Waveform transforms stand between ``LoadAudio`` and ``CropAudio``;
:class:`MaskSpectrogram` stands after the spectrogram.  Those of the papers'
robustness tables also take a ``strength`` from 0, which changes nothing, to 5.
"""

from abc import abstractmethod

import numpy as np
import torch
from torchaudio.functional import equalizer_biquad, mask_along_axis

from ca2st_mm.registry import TRANSFORMS

from .base import Transform, clip_name


class _WaveformTransform(Transform):
    """Change the waveform with a probability; silence stays silent."""

    def __init__(self, prob: float, seed: int | None) -> None:
        self.prob = prob
        self.seed = seed

    @abstractmethod
    def change(
        self, waveform: np.ndarray, rate: int, rng: np.random.Generator
    ) -> np.ndarray:
        """The changed waveform, (num_samples,)."""

    def transform(self, results: dict) -> dict:
        """Change ``results['waveform']``."""
        if self.seed is None:
            rng = np.random.default_rng(np.random.randint(2**31))
        else:
            name = clip_name(results)
            rng = np.random.default_rng([self.seed, *name.encode()])
        if results['has_audio'] and rng.uniform() < self.prob:
            waveform, rate = results['waveform'], results['sample_rate']
            changed = self.change(waveform, rate, rng)
            results['waveform'] = changed.astype(np.float32)
        return results


@TRANSFORMS.register_module()
class AddAudioNoise(_WaveformTransform):
    """Add white noise at a random signal-to-noise ratio.

    Args:
        snr: Range of the ratio, decibel.
        prob: Probability of adding it.
        strength: 1 to 5 for a ratio of 20, 15, 10, 5 or 0 decibel instead.
        seed: What is drawn depends on it and the clip (file, id or span)
            alone; None draws anew every time.

    >>> AddAudioNoise(strength=5, seed=0)
    AddAudioNoise(prob=1.0, seed=0, snr=(0, 0))
    """

    def __init__(
        self,
        snr: tuple[float, float] = (0.0, 20.0),
        prob: float = 1.0,
        strength: int | None = None,
        seed: int | None = None,
    ) -> None:
        if strength is not None:
            snr = (25 - 5 * strength,) * 2
            prob = float(strength > 0)
        super().__init__(prob, seed)
        self.snr = snr

    def noise(
        self, length: int, rate: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Noise of any power, (length,)."""
        return rng.standard_normal(length)

    def change(
        self, waveform: np.ndarray, rate: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Waveform plus noise."""
        noise = self.noise(len(waveform), rate, rng)
        ratio = 10 ** (rng.uniform(*self.snr) / 10)
        power = np.mean(np.square(noise)) * ratio
        scale = np.sqrt(np.mean(np.square(waveform)) / max(power, 1e-12))
        return waveform + scale * noise


@TRANSFORMS.register_module()
class AddPinkNoise(AddAudioNoise):
    """Add noise whose power falls as 1 / frequency."""

    def noise(
        self, length: int, rate: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Pink noise of any power, (length,)."""
        spectrum = np.fft.rfft(super().noise(length, rate, rng))
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
        return np.fft.irfft(spectrum, n=length)


@TRANSFORMS.register_module()
class AddPeakedNoise(AddAudioNoise):
    """Add what the authors' code calls pink noise.

    It is white with 10 decibel more around 500 Hz, clipped at one standard
    deviation: at 24 kHz, 0.6 % of its power lies below 100 Hz and 56 % above
    3 kHz.
    """

    def noise(
        self, length: int, rate: int, rng: np.random.Generator
    ) -> np.ndarray:
        """The noise, (length,)."""
        white = torch.from_numpy(super().noise(length, rate, rng)).float()
        return equalizer_biquad(white, rate, 500.0, gain=10.0, Q=0.7).numpy()


@TRANSFORMS.register_module()
class RollAudio(_WaveformTransform):
    """Shift the waveform in time; what leaves at one end enters at the other.

    Args:
        seconds: The largest shift either way.
        prob: Probability of shifting.
        strength: 0 to 5 for 0.4 seconds times that instead.
        seed: As in :class:`AddAudioNoise`.
    """

    def __init__(
        self,
        seconds: float = 2.0,
        prob: float = 1.0,
        strength: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(prob, seed)
        self.seconds = seconds if strength is None else 0.4 * strength

    def change(
        self, waveform: np.ndarray, rate: int, rng: np.random.Generator
    ) -> np.ndarray:
        """The rolled waveform."""
        shift = rng.uniform(-self.seconds, self.seconds)
        return np.roll(waveform, round(shift * rate))


@TRANSFORMS.register_module()
class MuteAudio(_WaveformTransform):
    """Set one stretch of the waveform to zero.

    Args:
        share: Part of the length that is muted, 0 to 1.
        prob: Probability of muting.
        strength: 0 to 5 for a share of 0.2 times that instead.
        seed: As in :class:`AddAudioNoise`.
    """

    def __init__(
        self,
        share: float = 0.2,
        prob: float = 1.0,
        strength: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(prob, seed)
        self.share = share if strength is None else 0.2 * strength

    def change(
        self, waveform: np.ndarray, rate: int, rng: np.random.Generator
    ) -> np.ndarray:
        """The waveform with a hole."""
        length = round(self.share * len(waveform))
        start = rng.integers(len(waveform) - length + 1)
        waveform = waveform.copy()
        waveform[start : start + length] = 0.0
        return waveform


@TRANSFORMS.register_module()
class MaskSpectrogram(Transform):
    """SpecAugment: hide stretches of time and bands of frequency.

    Source: Park et al., SpecAugment, Interspeech 2019.

    Args:
        time: Widest time mask, frames.
        freq: Widest frequency mask, mel bands.
        num_masks: Masks of each kind.
        fill: Value of hidden cells; the default is the data set mean of
            AST's front end, which is 0 once normalised.
    """

    def __init__(
        self,
        time: int = 70,
        freq: int = 20,
        num_masks: int = 2,
        fill: float = -4.2677393,
    ) -> None:
        self.time = time
        self.freq = freq
        self.num_masks = num_masks
        self.fill = fill

    def transform(self, results: dict) -> dict:
        """Mask ``results['audios']``, (num_views, 1, frames, mels)."""
        if not results['audios_present'].all():
            return results
        for view in results['audios']:
            masked = torch.from_numpy(view)
            for _ in range(self.num_masks):
                for axis, widest in ((1, self.time), (2, self.freq)):
                    widest = min(widest, view.shape[axis])
                    masked = mask_along_axis(masked, widest, self.fill, axis)
            view[:] = masked.numpy()
        return results
