# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The window of a sound that a view hears, as features of a fixed length."""

from abc import abstractmethod

import numpy as np
from mmcv.transforms import BaseTransform

from .audio_loading import sounds_of_views
from .views import count_views

# MMAction2's ThreeCrop gives left, right, middle; the reference counts its
# crops left, middle, right, and the crop's number moves the sound window.
_CROP_NUMBER = {1: (0,), 3: (0, 2, 1)}


def window_start(num_frames: int, length: int, position: float) -> int:
    """First frame of a window of ``length`` out of ``num_frames``.

    Args:
        num_frames: Frames there are, more than ``length``.
        length: Frames to keep.
        position: 0 for the beginning, 1 for the end.
    """
    spare = num_frames - length
    return spare - int(np.floor(spare * (1.0 - position)))


class WindowedSpectrogram(BaseTransform):
    """Common frame: features, a window of fixed length, its times.

    Required keys: those of ``LoadAudio``, optionally of ``CropAudio``.
    Added keys:

    - ``audios``: float32 (num_views, 1, num_frames, num_mels), time first,
      not normalised (the data preprocessor does that);
    - ``audios_times``: float32 (num_views, 2), start and end in seconds of
      the window, padding included, on the clock of ``imgs_times``;
    - ``audios_present``: float32 (num_views,), 0 where sound was dropped
      (``audios`` is 0 then), otherwise 1.

    Args:
        num_frames: Time frames of the window.
        num_mels: Mel bands.
        position: Where a longer sound is cut: a number from 0 (start) to 1
            (end), ``'random'`` (one draw a sample, for training), or
            ``'views'``: spread over the test views by the reference's rule.
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
        """Number of frames of a sound, at least one."""

    @abstractmethod
    def features(
        self,
        waveform: np.ndarray,
        rate: int,
        first: int = 0,
        behind: int | None = None,
    ) -> np.ndarray:
        """Log-mel features of some frames, (behind - first, num_mels).

        Args:
            waveform: float32 (num_samples,).
            rate: Samples per second.
            first: First frame.
            behind: One after the last frame; None for all that follow.
        """

    @abstractmethod
    def pad(self, features: np.ndarray, missing: int) -> np.ndarray:
        """Append ``missing`` frames at the end."""

    def transform(self, results: dict) -> dict:
        """Turn the sound into ``audios``."""
        positions = self._positions(*count_views(results))
        views = len(positions)
        shape = (views, 1, self.num_frames, self.num_mels)
        results['audios'] = np.zeros(shape, np.float32)
        results['audios_times'] = np.zeros((views, 2), np.float32)
        results['audios_present'] = np.zeros(views, np.float32)
        if results.get('audio_dropped', False):
            return results
        pairs, index = sounds_of_views(results)
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
        """Write the windows of one sound, and their times.

        Args:
            results: The sample.
            waveform: The sound.
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

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(num_frames={self.num_frames}, '
            f'num_mels={self.num_mels}, position={self.position!r})'
        )
