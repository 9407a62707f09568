# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Readers of whole files that do not give time stamps themselves."""

from abc import abstractmethod
from fractions import Fraction

import av
import numpy as np
from av.error import FFmpegError

from .base import Source, VideoReader, named_faults
from .frame_index import (
    FrameIndex,
    index_frames,
    video_stream,
)
from .pyav_reader import PyAVReader


class WholeFileReader(VideoReader):
    """A decoder that counts frames, with PyAV's time stamps.

    Args:
        source: The file.
        stamps: float64 seconds of its frames, from the packets.
        num_threads: Threads of the decoder; 0 lets it choose.

    Raises:
        MediaError: If the file cannot be read; names it.
    """

    def __init__(
        self, source: Source, stamps: np.ndarray, num_threads: int
    ) -> None:
        count, fps = self._start(source, num_threads)
        if len(stamps) != count:
            start = stamps[0] if len(stamps) else 0.0
            stamps = start + np.arange(count) / fps
        super().__init__(source.path, fps, stamps)

    @classmethod
    def open(cls, source: Source, num_threads: int = 1) -> VideoReader:
        """Open a plain file with this decoder, an odd one with PyAV.

        Odd are files without presentation times (avi), where decord's jumps
        end at wrong frames, files with frames that an edit list hides,
        which decord counts but does not give, and files that say no rate of
        frames (what browsers record), which it refuses (all measured).

        Args:
            source: The file.
            num_threads: Threads of the decoder; 0 lets it choose.

        Raises:
            MediaError: If the file cannot be read; names it.
        """
        index, rate = _scan(source)
        if index.pts is None or index.num_hidden or not rate:
            return PyAVReader(source, num_threads)
        return cls(source, index.stamps, num_threads)

    @abstractmethod
    def _start(self, source: Source, num_threads: int) -> tuple:
        """Start the decoder; give number of frames and average rate."""


def _scan(source: Source) -> tuple[FrameIndex, Fraction | None]:
    """Read the packets of a file; also its rate of frames, if it says one."""
    with named_faults(source.path, FFmpegError, OSError, ValueError):
        with av.open(source.open()) as container:
            stream = video_stream(container)
            return index_frames(container, stream), stream.average_rate
