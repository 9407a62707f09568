# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Log-mel spectrograms of a fixed length, one a view."""

from abc import abstractmethod
from functools import lru_cache

import librosa
import numpy as np
import torch
from torchaudio.compliance import kaldi

from ca2st_mm.registry import TRANSFORMS

from .base import Transform
from .video_loading import count_views

# MMAction2's ThreeCrop gives left, right, middle; the authors' code counts its
# crops left, middle, right, and the crop's number moves the audio window.
_CROP_NUMBER = {1: (0,), 3: (0, 2, 1)}
_BLOCK = 128  # frames: their spectra fit into the processor's cache
_BAND = 16  # filters, which are 0 in most of the spectrum
ALL = slice(None)


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

    # How NumPy makes frames after the end.
    _padding: dict = dict(mode='constant')

    def __init__(
        self,
        num_frames: int = 1024,
        num_mels: int = 128,
        position: str | float = 0.5,
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
        self, waveform: np.ndarray, rate: int, frames: slice = ALL
    ) -> np.ndarray:
        """Log-mel features of some frames, (frames, num_mels).

        Args:
            waveform: float32 (num_samples,).
            rate: Samples per second.
            frames: Which frames.
        """

    def finish(self, window: np.ndarray) -> np.ndarray:
        """What depends on all of a window, (num_frames, num_mels)."""
        return window

    def transform(self, results: dict) -> dict:
        """Turn the audio into ``audios``."""
        positions = self._positions(*count_views(results))
        views = len(positions)
        shape = (views, 1, self.num_frames, self.num_mels)
        results['audios'] = np.zeros(shape, np.float32)
        results['audios_times'] = np.zeros((views, 2), np.float32)
        results['audios_present'] = np.zeros(views, np.float32)
        waveform, cuts = results['waveform'], results.get('waveforms')
        if waveform is None:
            return results
        results['audios_present'][:] = 1.0
        if cuts is None:
            positions = dict(enumerate(positions))
            start = results['audio_start']
            self._fill(results, waveform, start, positions)
            return results
        if len(cuts) != views:
            raise ValueError(
                f'Audio was cut for {len(cuts)} views but the frames have '
                f'{views}: put FrameTimes and CropAudio after the crops.'
            )
        for view, cut in enumerate(cuts):
            start = results['waveform_times'][view, 0]
            self._fill(results, cut, start, {view: positions[view]})
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
        audio_start: float,
        positions: dict[int, float],
    ) -> None:
        """Write the windows of a track, by view, and their times."""
        rate, want = results['sample_rate'], self.num_frames
        have = self.count(waveform, rate)
        missing, spare = max(want - have, 0), max(have - want, 0)
        starts = {
            view: spare - int(np.floor(spare * (1.0 - position)))
            for view, position in positions.items()
        }
        # What no view uses is not computed.
        first, last = min(starts.values()), max(starts.values())
        frames = slice(first, min(last + want, have))
        features = self.features(waveform, rate, frames)
        features = np.pad(features, ((0, missing), (0, 0)), **self._padding)
        zero = audio_start - results.get('time_origin', 0.0)
        seconds = len(waveform) / rate / have
        for view, start in starts.items():
            window = features[start - first :][:want]
            results['audios'][view, 0] = self.finish(window)
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
        position: See the base class.

    >>> tone = np.sin(np.arange(16000, dtype=np.float32))
    >>> LogMelSpectrogram().features(tone, 16000).shape
    (98, 128)
    """

    _window_type = 'hanning'

    def count(self, waveform: np.ndarray, rate: int) -> int:
        """Frames of 25 ms, one every 10 ms while a whole one fits."""
        window, shift = _window_and_shift(rate)
        return 1 + max(len(waveform) - window, 0) // shift

    def features(
        self, waveform: np.ndarray, rate: int, frames: slice = ALL
    ) -> np.ndarray:
        """Kaldi log-mel energies, (frames, num_mels)."""
        waveform = self._prepare(waveform)
        window, shift = _window_and_shift(rate)
        # A single Kaldi window needs 25 ms; a shorter track gets silence.
        waveform = np.pad(waveform, (0, max(window - len(waveform), 0)))
        waveform = torch.from_numpy(waveform.astype(np.float32))
        blocks = waveform.unfold(0, window, shift)[frames].split(_BLOCK)
        return torch.cat(
            [
                _log_mel(block, rate, self.num_mels, self._window_type)
                for block in blocks
            ]
        ).numpy()

    def _prepare(self, waveform: np.ndarray) -> np.ndarray:
        return waveform - waveform.mean()


@TRANSFORMS.register_module()
class BEATsSpectrogram(LogMelSpectrogram):
    """The front end of BEATs (16 kHz audio).

    Kaldi log-mel filter banks of samples as 16 bit numbers (times 2^15), in
    25 ms Povey windows every 10 ms.  Shorter tracks are padded with silence.
    Normalise with mean 15.41663 and standard deviation 2 * 6.55582.

    Source: Chen et al., BEATs, ICML 2023.

    Args:
        num_frames: Time frames (10 ms) of the window; 998 are 10 s.
        num_mels: Mel bands.
        position: See the base class.

    >>> tone = np.sin(np.arange(16000, dtype=np.float32))
    >>> BEATsSpectrogram().features(tone, 16000).shape
    (98, 128)
    """

    _window_type = 'povey'
    # What the filter banks give for zeros.
    _padding = dict(
        mode='constant', constant_values=np.log(np.finfo(np.float32).eps)
    )

    def __init__(
        self,
        num_frames: int = 998,
        num_mels: int = 128,
        position: str | float = 0.5,
    ) -> None:
        super().__init__(num_frames, num_mels, position)

    def _prepare(self, waveform: np.ndarray) -> np.ndarray:
        return waveform * 2.0**15


def _window_and_shift(rate: int) -> tuple[int, int]:
    """Kaldi's 25 ms and 10 ms in samples."""
    return int(rate * 0.001 * 25.0), int(rate * 0.001 * 10.0)


def _log_mel(
    frames: torch.Tensor, rate: int, num_mels: int, window_type: str
) -> torch.Tensor:
    """What ``kaldi.fbank`` gives for frames, (num_frames, num_mels).

    That makes its filters anew each time and holds every intermediate of
    the whole track: at 48 kHz it takes 3 times as long.
    """
    window, bands = _window_and_filters(
        frames.shape[1], rate, num_mels, window_type
    )
    frames = frames - frames.mean(1, keepdim=True)
    # The first sample has nothing before it, and the window is 0 there.
    emphasized = torch.zeros_like(frames)
    torch.sub(frames[:, 1:], frames[:, :-1], alpha=0.97, out=emphasized[:, 1:])
    size = 1 << (frames.shape[1] - 1).bit_length()
    spectrum = torch.fft.rfft(emphasized.mul_(window), n=size)
    power = torch.view_as_real(spectrum).flatten(1).square_()
    mel = torch.cat([power[:, bins] @ band for bins, band in bands], 1)
    return mel.clamp_(min=torch.finfo(torch.float32).eps).log_()


@lru_cache(maxsize=8)
def _window_and_filters(
    samples: int, rate: int, num_mels: int, window_type: str
) -> tuple[torch.Tensor, list[tuple[slice, torch.Tensor]]]:
    """The window, (samples,), and the mel filters, some at a time.

    Each with the part of the spectrum, real and imaginary parts in turn,
    outside of which they are 0.
    """
    size = 1 << (samples - 1).bit_length()
    filters, _ = kaldi.get_mel_banks(
        num_mels, size, float(rate), 20.0, 0.0, 100.0, -500.0, 1.0
    )
    filters = torch.nn.functional.pad(filters, (0, 1))
    bands = []
    for band in filters.T.repeat_interleave(2, 0).split(_BAND, 1):
        used = band.any(1).nonzero().flatten().tolist() or [0]
        bins = slice(used[0], used[-1] + 1)
        bands.append((bins, band[bins].contiguous()))
    window = torch.hann_window(samples, periodic=False)
    return window ** (0.85 if window_type == 'povey' else 1), bands


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
        position: See the base class; 0 takes the first frames.
    """

    _padding = dict(mode='edge')

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
        self, waveform: np.ndarray, rate: int, frames: slice = ALL
    ) -> np.ndarray:
        """Log-mel magnitudes, (frames, num_mels)."""
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
        return np.log(mel[:, frames] + 1e-6).T


@TRANSFORMS.register_module()
class WhisperSpectrogram(WindowedSpectrogram):
    """The front end of Whisper (16 kHz audio, always 30 s).

    Log10 of Slaney mel energies of 25 ms Hann windows every 10 ms, nothing
    below the loudest of the window by more than 8, and (x + 4) / 4: already
    normalised.

    Source: Radford et al., Whisper, ICML 2023.

    Args:
        num_frames: Time frames (10 ms) of the window.
        num_mels: Mel bands; 128 for large-v3.
        position: See the base class.

    >>> tone = np.sin(np.arange(16000, dtype=np.float32))
    >>> WhisperSpectrogram().features(tone, 16000).shape
    (100, 80)
    """

    _padding = dict(mode='constant', constant_values=-10.0)

    def __init__(
        self,
        num_frames: int = 3000,
        num_mels: int = 80,
        position: str | float = 0.0,
    ) -> None:
        super().__init__(num_frames, num_mels, position)

    def count(self, waveform: np.ndarray, rate: int) -> int:
        """Frames of 25 ms, centred every 10 ms."""
        return max(len(waveform) // round(0.010 * rate), 1)

    def features(
        self, waveform: np.ndarray, rate: int, frames: slice = ALL
    ) -> np.ndarray:
        """Log10 of mel energies, (frames, num_mels)."""
        size, hop = round(0.025 * rate), round(0.010 * rate)
        count = self.count(waveform, rate)
        waveform = np.pad(waveform, (0, size))
        waveform = np.pad(waveform, (size // 2, 0), mode='reflect')
        mel = librosa.feature.melspectrogram(
            y=waveform,
            sr=rate,
            n_fft=size,
            hop_length=hop,
            center=False,
            n_mels=self.num_mels,
        )
        return np.log10(np.maximum(mel[:, :count], 1e-10))[:, frames].T

    def finish(self, window: np.ndarray) -> np.ndarray:
        """Cut off what is quiet, and normalise."""
        return (np.maximum(window, window.max() - 8.0) + 4.0) / 4.0


@TRANSFORMS.register_module()
class AudioWaveform(WindowedSpectrogram):
    """The samples themselves, for speech models such as HuBERT (16 kHz).

    ``audios`` is (num_views, 1, num_samples, 1).  Shorter tracks are padded
    with 0.

    Args:
        num_samples: Samples of the window; 160000 are 10 s.
        position: See the base class.
        normalize: Whether a track gets mean 0 and variance 1, as models with
            ``do_normalize`` in their preprocessor's config want it.

    >>> tone = np.sin(np.arange(16000, dtype=np.float32))
    >>> AudioWaveform().features(tone, 16000).shape
    (16000, 1)
    """

    def __init__(
        self,
        num_samples: int = 160000,
        position: str | float = 0.5,
        normalize: bool = True,
    ) -> None:
        super().__init__(num_samples, 1, position)
        self.normalize = normalize

    def count(self, waveform: np.ndarray, rate: int) -> int:
        """Samples of the track."""
        return len(waveform)

    def features(
        self, waveform: np.ndarray, rate: int, frames: slice = ALL
    ) -> np.ndarray:
        """Samples, (frames, 1)."""
        if self.normalize:
            deviation = np.sqrt(waveform.var() + 1e-7)
            waveform = (waveform - waveform.mean()) / deviation
        return waveform[frames, None]
