# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Log-mel spectrograms of a fixed length, one a view."""

from abc import abstractmethod

import librosa
import numpy as np
import torch
from torchaudio.compliance import kaldi

from ca2st_mm.registry import TRANSFORMS

from .audio_loading import tracks_of_views
from .base import Transform
from .video_loading import count_views

# MMAction2's ThreeCrop gives left, right, middle; the authors' code counts its
# crops left, middle, right, and the crop's number moves the audio window.
_CROP_NUMBER = {1: (0,), 3: (0, 2, 1)}
_BLOCK = 1024  # frames of a block


def window_start(num_frames: int, length: int, position: float) -> int:
    """First frame of a window of ``length`` out of ``num_frames``.

    Args:
        num_frames: Frames there are, more than ``length``.
        length: Frames to keep.
        position: 0 for the beginning, 1 for the end.
    """
    spare = num_frames - length
    return spare - int(np.floor(spare * (1.0 - position)))


class WindowedSpectrogram(Transform):
    """Features of a window of fixed length for each view, and its times.

    Required keys: those of ``LoadAudio``, optionally of ``CropAudio``.
    Added keys:

    - ``audios``: float32 (num_views, 1, num_frames, num_mels), time first,
      not normalised (the data preprocessor does that);
    - ``audios_times``: float32 (num_views, 2), start and end in seconds of
      the window, padding included, on the clock of ``imgs_times``;
    - ``audios_present``: float32 (num_views,), 0 where audio was dropped
      (``audios`` is 0 then), otherwise 1.

    Args:
        num_frames: Time frames of the window.
        num_mels: Mel bands.
        position: Where a longer track is cut: a number from 0 (start) to 1
            (end), ``'random'`` (one draw a sample, for training), or
            ``'views'``: spread over the test views by the authors' rule.
    """

    def __init__(
        self,
        num_frames: int,
        num_mels: int,
        position: str | float,
    ) -> None:
        known = position in ('random', 'views') or (
            not isinstance(position, str) and 0 <= position <= 1
        )
        if not known:
            raise ValueError(
                "position is 'random', 'views' or a number from 0 to 1, "
                f'not {position!r}.'
            )
        self.num_frames = num_frames
        self.num_mels = num_mels
        self.position = position

    @abstractmethod
    def count(self, waveform: np.ndarray, rate: int) -> int:
        """Number of frames of a track, at least one."""

    @abstractmethod
    def features(
        self,
        waveform: np.ndarray,
        rate: int,
        first: int = 0,
        stop: int | None = None,
    ) -> np.ndarray:
        """Log-mel features of some frames, (stop - first, num_mels).

        Args:
            waveform: float32 (num_samples,).
            rate: Samples per second.
            first: First frame.
            stop: One after the last frame; None for all that follow.
        """

    @abstractmethod
    def pad(self, features: np.ndarray, missing: int) -> np.ndarray:
        """Append ``missing`` frames at the end."""

    def transform(self, results: dict) -> dict:
        """Turn the audio into ``audios``."""
        positions = self._positions(*count_views(results))
        views = len(positions)
        shape = (views, 1, self.num_frames, self.num_mels)
        results['audios'] = np.zeros(shape, np.float32)
        results['audios_times'] = np.zeros((views, 2), np.float32)
        results['audios_present'] = np.zeros(views, np.float32)
        if results.get('audio_dropped', False):
            return results
        pairs, index = tracks_of_views(results)
        for source, (waveform, span) in enumerate(pairs):
            own = {
                view: position
                for view, position in enumerate(positions)
                if index[view] == source
            }
            self._fill(results, waveform, span, own)
        results['audios_present'][:] = 1.0
        return results

    def _positions(self, num_clips: int, num_crops: int) -> list[float]:
        """Where to cut for each view, in the order of the views."""
        views = num_clips * num_crops
        if self.position == 'random':
            return [np.random.uniform()] * views
        if self.position != 'views':
            return [self.position] * views
        numbers = _CROP_NUMBER.get(num_crops, range(num_crops))
        return [
            (num_crops * clip + crop + 3) / (views + 6)
            for crop in numbers
            for clip in range(num_clips)
        ]

    def _fill(
        self,
        results: dict,
        waveform: np.ndarray,
        span: tuple[float, float],
        views: dict[int, float],
    ) -> None:
        """Write the windows of one track, and their times.

        Args:
            results: The sample.
            waveform: The track.
            span: Its start and end, seconds.
            views: Where each view that hears it is cut.
        """
        rate, want = results['sample_rate'], self.num_frames
        have = self.count(waveform, rate)
        starts = {
            view: window_start(have, want, position) if have > want else 0
            for view, position in views.items()
        }
        # What no view hears is not computed.
        first, last = min(starts.values()), max(starts.values())
        features = self.features(waveform, rate, first, min(last + want, have))
        if have < want:
            features = self.pad(features, want - have)
        zero = span[0] - results.get('time_origin', 0.0)
        seconds = (span[1] - span[0]) / have
        for view, start in starts.items():
            results['audios'][view, 0] = features[start - first :][:want]
            begin = zero + start * seconds
            results['audios_times'][view] = begin, begin + want * seconds


@TRANSFORMS.register_module()
class LogMelSpectrogram(WindowedSpectrogram):
    """The front end of the Audio Spectrogram Transformer (AST).

    Mean removed, then Kaldi log-mel filter banks: 25 ms Hanning windows
    every 10 ms, mel bands up to half the sample rate.  Shorter tracks are
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
        """Frames of 25 ms, one every 10 ms while a whole one fits."""
        window, shift = _window_and_shift(rate)
        return 1 + max(len(waveform) - window, 0) // shift

    def features(
        self,
        waveform: np.ndarray,
        rate: int,
        first: int = 0,
        stop: int | None = None,
    ) -> np.ndarray:
        """Kaldi log-mel energies, (stop - first, num_mels)."""
        stop = stop or self.count(waveform, rate)
        window, shift = _window_and_shift(rate)
        # A single Kaldi window needs 25 ms; a shorter track gets silence.
        missing = max(window - len(waveform), 0)
        waveform = np.pad(waveform - waveform.mean(), (0, missing))
        waveform = torch.from_numpy(waveform.astype(np.float32))[None]
        # fbank holds every intermediate: long tracks go in blocks.
        blocks = [
            kaldi.fbank(
                waveform[:, low * shift : (high - 1) * shift + window],
                sample_frequency=rate,
                num_mel_bins=self.num_mels,
                htk_compat=True,
                window_type='hanning',
                use_energy=False,
                dither=0.0,
            )
            for low in range(first, stop, _BLOCK)
            for high in [min(low + _BLOCK, stop)]
        ]
        return torch.cat(blocks).numpy()

    def pad(self, features: np.ndarray, missing: int) -> np.ndarray:
        """Append rows of 0."""
        return np.pad(features, ((0, missing), (0, 0)))


def _window_and_shift(rate: int) -> tuple[int, int]:
    """Kaldi's 25 ms and 10 ms in samples."""
    return int(rate * 0.001 * 25.0), int(rate * 0.001 * 10.0)


@TRANSFORMS.register_module()
class LibrosaLogMelSpectrogram(WindowedSpectrogram):
    """The front end of the EPIC-SOUNDS baselines (24 kHz audio).

    Magnitude spectra of 10 ms Hann windows every 5 ms, HTK mel bands from
    0 Hz, natural log of (mel + 1e-6).  Shorter tracks repeat their last
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
        stop: int | None = None,
    ) -> np.ndarray:
        """Log-mel magnitudes, (stop - first, num_mels)."""
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
        return np.log(mel[:, first:stop] + 1e-6).T

    def pad(self, features: np.ndarray, missing: int) -> np.ndarray:
        """Repeat the last frame."""
        return np.pad(features, ((0, missing), (0, 0)), mode='edge')
