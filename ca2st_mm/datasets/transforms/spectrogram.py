# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Log-mel spectrograms of a fixed length, one a view."""

import librosa
import numpy as np

from ca2st_mm.registry import TRANSFORMS

from .kaldi_mel import (
    count_frames,
    log_mel,
    window_samples,
)
from .windowed_spectrogram import (
    WindowedSpectrogram,
)


@TRANSFORMS.register_module()
class LogMelSpectrogram(WindowedSpectrogram):
    """The front end of the Audio Spectrogram Transformer (AST).

    Mean removed, then Kaldi log-mel filter banks: 25 ms Hanning windows
    every 10 ms, mel bands up to half the sample rate.  Shorter sounds are
    padded with rows of 0, before normalisation, as AST was trained; with
    mean -4.2677393 and standard deviation 2 * 4.5689974 in the data
    preprocessor they become +0.467.

    Source: Gong et al., AST, Interspeech 2021.

    Args:
        num_frames: Time frames (10 ms) of the window.
        num_mels: Mel bands.
        position: See the keys of the base class.
    """

    def __init__(
        self,
        num_frames: int = 1024,
        num_mels: int = 128,
        position: str | float = 0.5,
    ) -> None:
        super().__init__(num_frames, num_mels, position)

    def count(self, waveform: np.ndarray, rate: int) -> int:
        """Frames of 25 ms, one every 10 ms."""
        return count_frames(max(len(waveform), window_samples(rate)), rate)

    def features(
        self,
        waveform: np.ndarray,
        rate: int,
        first: int = 0,
        behind: int | None = None,
    ) -> np.ndarray:
        """Kaldi log-mel energies, (behind - first, num_mels)."""
        # A single Kaldi window needs 25 ms; a shorter sound gets silence.
        missing = max(window_samples(rate) - len(waveform), 0)
        waveform = np.pad(waveform - waveform.mean(), (0, missing))
        return log_mel(
            waveform.astype(np.float32), rate, self.num_mels, first, behind
        )

    def pad(self, features: np.ndarray, missing: int) -> np.ndarray:
        """Append rows of 0."""
        return np.pad(features, ((0, missing), (0, 0)))


@TRANSFORMS.register_module()
class LibrosaLogMelSpectrogram(WindowedSpectrogram):
    """The front end of the EPIC-SOUNDS baselines (24 kHz sound).

    Magnitude spectra of 10 ms Hann windows every 5 ms, HTK mel bands from
    0 Hz, natural log of (mel + 1e-6).  Shorter sounds repeat their last
    frame.  Normalise with mean -1.5267 and standard deviation 2 * 1.0327.

    Source: Huh et al., EPIC-SOUNDS, ICASSP 2023.

    Args:
        num_frames: Time frames (5 ms) of the window.
        num_mels: Mel bands.
        position: See the keys of the base class; 0 takes the first frames.
    """

    def __init__(
        self,
        num_frames: int = 400,
        num_mels: int = 128,
        position: str | float = 0.0,
    ) -> None:
        super().__init__(num_frames, num_mels, position)

    def count(self, waveform: np.ndarray, rate: int) -> int:
        """Frames of 10 ms, centred every 5 ms."""
        return 1 + len(waveform) // round(0.005 * rate)

    def features(
        self,
        waveform: np.ndarray,
        rate: int,
        first: int = 0,
        behind: int | None = None,
    ) -> np.ndarray:
        """Log-mel magnitudes, (behind - first, num_mels)."""
        mel = librosa.feature.melspectrogram(
            y=waveform,
            sr=rate,
            n_fft=2048,
            win_length=round(0.010 * rate),
            hop_length=round(0.005 * rate),
            window='hann',
            center=True,
            pad_mode='constant',
            power=1.0,
            n_mels=self.num_mels,
            htk=True,
            norm=None,
        )
        return np.log(mel[:, first:behind] + 1e-6).T

    def pad(self, features: np.ndarray, missing: int) -> np.ndarray:
        """Repeat the last frame."""
        return np.pad(features, ((0, missing), (0, 0)), mode='edge')
