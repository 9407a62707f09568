# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Frames by torchcodec, where it and FFmpeg's libraries are installed."""

import numpy as np
from torchcodec.decoders import VideoDecoder

from .base import Source, named_faults
from .whole_file import WholeFileReader

_ERRORS = (RuntimeError, ValueError, IndexError, OSError)


class TorchCodecReader(WholeFileReader):
    """Read a whole video with torchcodec.

    It scans the file when it opens one (``seek_mode='exact'``), which is
    what makes indices exact.
    """

    def _start(self, source: Source, num_threads: int) -> tuple:
        with named_faults(source.path, *_ERRORS):
            self._decoder = VideoDecoder(
                source.path if source.data is None else source.data,
                dimension_order='NHWC',
                num_ffmpeg_threads=num_threads,
                seek_mode='exact',
            )
            fps = self._decoder.metadata.average_fps
            return len(self._decoder), fps

    def _decode(self, wanted: np.ndarray) -> np.ndarray:
        with named_faults(self.path, *_ERRORS):
            batch = self._decoder.get_frames_at(indices=wanted.tolist())
            return batch.data.numpy()

    def _release(self) -> None:
        # torchcodec has no close: its decoder goes with the last reference.
        self._decoder = None
