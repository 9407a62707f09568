# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Frames by decord, MMAction2's usual decoder."""

import decord
import numpy as np

from .base import Source, named_faults
from .whole_file import WholeFileReader

_ERRORS = (decord.DECORDError, RuntimeError, IndexError)


class DecordReader(WholeFileReader):
    """Read a whole video with decord.

    decord is no longer maintained; it forgets where a stream starts, and it
    reads the packets of the whole file when it opens one, so spans of long
    files are left to PyAV.
    """

    def _start(self, source: Source, num_threads: int) -> tuple:
        with named_faults(source.path, *_ERRORS):
            self._decoder = decord.VideoReader(
                source.open(), num_threads=num_threads
            )
            return len(self._decoder), self._decoder.get_avg_fps()

    def _decode(self, wanted: np.ndarray) -> np.ndarray:
        with named_faults(self.path, *_ERRORS):
            return self._decoder.get_batch(wanted).asnumpy()

    def _release(self) -> None:
        # decord has no close: its decoder goes with the last reference.
        self._decoder = None
