# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Time stamps of a whole file, for decoders that do not give them."""

from typing import NamedTuple

import av
import numpy as np
from av.error import FFmpegError

from ca2st_mm.datasets.readers.base import Source, named_faults
from ca2st_mm.datasets.readers.frame_index import index_frames, video_stream


class FileStamps(NamedTuple):
    """What the packets say.

    Attributes:
        stamps: float64 seconds on the container's clock, (num_frames,).
        start: Second at which the stream says it starts.
        counted: Whether the container stores no presentation times, so that
            frames can only be counted from the first one.
    """

    stamps: np.ndarray
    start: float
    counted: bool

    def fit(self, num_frames: int, fps: float) -> np.ndarray:
        """Stamps for the frames a decoder counts.

        Args:
            num_frames: Frames the decoder counts.
            fps: Average rate, used where the number of packets differs.

        Returns:
            float64 seconds, (num_frames,).
        """
        if len(self.stamps) == num_frames:
            return self.stamps
        return self.start + np.arange(num_frames) / fps


def scan_stamps(source: Source) -> FileStamps:
    """Read the packets of a file with PyAV.

    Args:
        source: The file.

    Raises:
        MediaError: If it cannot be read; names it.
    """
    with named_faults(source.path, FFmpegError, OSError, ValueError):
        with av.open(source.open()) as container:
            stream = video_stream(container)
            start = (stream.start_time or 0) * float(stream.time_base)
            index = index_frames(container, stream)
    return FileStamps(index.stamps, start, index.pts is None)
