# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Frames that are in memory already."""

import numpy as np

from .base import VideoReader


class ArrayReader(VideoReader):
    """Frames of an array, for a pipeline that wants a reader.

    Args:
        name: What messages call it.
        avg_fps: Frames a second.
        frame_stamps: float64 seconds, one for each frame, ascending.
        frames: RGB uint8, (num_frames, height, width, 3).

    Raises:
        MediaError: If there is no frame.
    """

    def __init__(
        self,
        name: str,
        avg_fps: float,
        frame_stamps: np.ndarray,
        frames: np.ndarray,
    ) -> None:
        super().__init__(name, avg_fps, frame_stamps)
        self._frames = frames

    def _decode(self, wanted: np.ndarray) -> np.ndarray:
        return self._frames[wanted]

    def _release(self) -> None:
        self._frames = None
