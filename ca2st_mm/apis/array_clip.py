# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A clip that is in memory already."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ca2st_mm.datasets.audio import Audio
from ca2st_mm.datasets.video import ArrayReader


@dataclass(frozen=True, eq=False)
class ArrayClip:
    """Frames, and sound where there is some, as arrays or tensors.

    Attributes:
        frames: RGB uint8, (num_frames, height, width, 3).
        fps: Frames a second.
        sound: A waveform, floats in [-1, 1], (num_samples,) or (channels,
            num_samples), and its samples a second; None for no sound.
        start: Second of the first frame and of the first sample.
        name: What predictions call it.

    Raises:
        ValueError: If an array has another shape or type, or a rate is not
            positive.
    """

    frames: Any
    fps: float
    sound: tuple[Any, int] | None = None
    start: float = 0.0
    name: str = 'array'

    def __post_init__(self) -> None:
        frames = _to_numpy(self.frames)
        if frames.dtype != np.uint8 or frames.shape[3:] != (3,):
            raise ValueError(
                'frames are RGB uint8 of the shape (frames, height, width, '
                f'3), got {frames.dtype} {frames.shape}'
            )
        if not len(frames):
            raise ValueError('frames holds no frame')
        if self.fps <= 0:
            raise ValueError(f'fps is above 0, got {self.fps}')
        object.__setattr__(self, 'frames', frames)

    def reader(self) -> ArrayReader:
        """Its frames for the test pipeline."""
        stamps = self.start + np.arange(len(self.frames)) / self.fps
        return ArrayReader(self.name, self.fps, stamps, self.frames)

    def track(self) -> Audio | None:
        """Its sound, mono, for the test pipeline."""
        if self.sound is None:
            return None
        waveform, rate = self.sound
        waveform = _to_numpy(waveform)
        if waveform.dtype.kind != 'f' or waveform.ndim not in (1, 2):
            raise ValueError(
                'a waveform is float, (samples,) or (channels, samples), got '
                f'{waveform.dtype} {waveform.shape}'
            )
        if rate <= 0:
            raise ValueError(f'the sample rate is above 0, got {rate}')
        if waveform.ndim == 2:
            waveform = waveform.mean(axis=0)
        return Audio(waveform.astype(np.float32), int(rate), self.start)


def _to_numpy(values: Any) -> np.ndarray:
    """An array, of a tensor on any device as well."""
    if hasattr(values, 'detach'):
        values = values.detach().cpu().numpy()
    return np.asarray(values)
