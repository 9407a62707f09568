# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Frames by decord, MMAction2's usual decoder."""

import decord
import numpy as np

from ca2st_mm.datasets.readers.base import Source, VideoReader, named_faults
from ca2st_mm.datasets.readers.file_stamps import scan_stamps

_ERRORS = (decord.DECORDError, RuntimeError, IndexError)


class DecordReader(VideoReader):
    """Read a whole video with decord.

    Time stamps come from PyAV: decord forgets where a stream starts.
    decord is no longer maintained; it reads the packets of the whole file
    when it opens one, so spans of long files are left to PyAV.

    Args:
        source: The file.
        num_threads: Threads of the decoder; 0 lets decord choose.

    Raises:
        MediaError: If the file cannot be read; names it.
    """

    def __init__(self, source: Source, num_threads: int = 1) -> None:
        scanned = scan_stamps(source)
        self._source = source
        self._num_threads = num_threads
        self._counted = scanned.counted
        with named_faults(source.path, *_ERRORS):
            self._decoder = self._start()
            count, fps = len(self._decoder), self._decoder.get_avg_fps()
        super().__init__(source.path, fps, scanned.fit(count, fps))

    def _start(self) -> decord.VideoReader:
        return decord.VideoReader(
            self._source.open(), num_threads=self._num_threads
        )

    def _decode(self, wanted: np.ndarray) -> np.ndarray:
        # One decoder a read: a second one may give wrong frames after the
        # first came near the end (measured on two avi files; going back to
        # frame 0 mends one of them and breaks the other).
        with named_faults(self.path, *_ERRORS):
            decoder, self._decoder = self._decoder or self._start(), None
            if self._counted:
                return _count_through(decoder, wanted)
            return decoder.get_batch(wanted).asnumpy()

    def _release(self) -> None:
        # decord has no close: its decoder goes with the last reference.
        self._decoder = None


def _count_through(
    decoder: decord.VideoReader, wanted: np.ndarray
) -> np.ndarray:
    """Decode from the start and keep some frames.

    Where the container stores no times decord's jumps may end at a wrong
    frame (measured on H.264 in avi).
    """
    chosen = set(wanted.tolist())
    frames = []
    for number in range(int(wanted[-1]) + 1):
        frame = decoder.next()
        if number in chosen:
            frames.append(frame.asnumpy())
    return np.stack(frames)
