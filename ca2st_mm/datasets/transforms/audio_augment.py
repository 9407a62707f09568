# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Augmentations and corruptions of audio.

Waveform transforms stand between ``LoadAudio`` and ``CropAudio``;
:class:`MaskSpectrogram` stands after the spectrogram.
"""

from abc import abstractmethod

import numpy as np

from ca2st_mm.registry import TRANSFORMS

from .base import Transform


class _WaveformTransform(Transform):
    """Change the waveform with a probability; silence stays silent.

    Args:
        prob: Probability of applying the change.
    """

    def __init__(self, prob: float) -> None:
        self.prob = prob

    @abstractmethod
    def change(self, waveform: np.ndarray, rate: int) -> np.ndarray:
        """The changed waveform, (num_samples,)."""

    def transform(self, results: dict) -> dict:
        """Change ``results['waveform']``."""
        if results['has_audio'] and np.random.uniform() < self.prob:
            changed = self.change(results['waveform'], results['sample_rate'])
            results['waveform'] = changed.astype(np.float32)
        return results


@TRANSFORMS.register_module()
class AddAudioNoise(_WaveformTransform):
    """Add noise at a random signal-to-noise ratio.

    Args:
        snr: Range of the ratio, decibel.
        exponent: Power falls as 1 / f**exponent: 0 is white, 1 pink.
        prob: Probability of adding it.
    """

    def __init__(
        self,
        snr: tuple[float, float] = (0.0, 20.0),
        exponent: float = 0.0,
        prob: float = 1.0,
    ) -> None:
        super().__init__(prob)
        self.snr = snr
        self.exponent = exponent

    def change(self, waveform: np.ndarray, rate: int) -> np.ndarray:
        """Waveform plus noise."""
        noise = np.random.standard_normal(len(waveform))
        if self.exponent:
            spectrum = np.fft.rfft(noise)
            bins = np.maximum(np.arange(len(spectrum)), 1)
            spectrum = spectrum / bins ** (self.exponent / 2)
            noise = np.fft.irfft(spectrum, n=len(waveform))
        ratio = 10 ** (np.random.uniform(*self.snr) / 10)
        power = np.mean(np.square(noise)) * ratio
        scale = np.sqrt(np.mean(np.square(waveform)) / max(power, 1e-12))
        return waveform + scale * noise


@TRANSFORMS.register_module()
class RollAudio(_WaveformTransform):
    """Shift the waveform in time; what leaves at one end enters at the other.

    Args:
        seconds: The largest shift either way.
        prob: Probability of shifting.
    """

    def __init__(self, seconds: float = 2.0, prob: float = 1.0) -> None:
        super().__init__(prob)
        self.seconds = seconds

    def change(self, waveform: np.ndarray, rate: int) -> np.ndarray:
        """The rolled waveform."""
        shift = np.random.uniform(-self.seconds, self.seconds)
        return np.roll(waveform, round(shift * rate))


@TRANSFORMS.register_module()
class MuteAudio(_WaveformTransform):
    """Set one stretch of the waveform to zero.

    Args:
        share: Part of the length that is muted, 0 to 1.
        prob: Probability of muting.
    """

    def __init__(self, share: float = 0.2, prob: float = 1.0) -> None:
        super().__init__(prob)
        self.share = share

    def change(self, waveform: np.ndarray, rate: int) -> np.ndarray:
        """The waveform with a hole."""
        length = round(self.share * len(waveform))
        start = np.random.randint(len(waveform) - length + 1)
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
        if results.get('audio_dropped', False):
            return results
        for view in results['audios']:
            _, frames, mels = view.shape
            for _ in range(self.num_masks):
                view[:, _stretch(frames, self.time)] = self.fill
                view[:, :, _stretch(mels, self.freq)] = self.fill
        return results


def _stretch(size: int, widest: int) -> slice:
    """A random stretch of at most ``widest`` of ``size`` cells."""
    width = min(int(np.random.uniform(0, widest)), size)
    start = np.random.randint(size - width + 1)
    return slice(start, start + width)
