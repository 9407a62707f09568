# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Opening videos: which reader decodes a file.

PyAV reads every file.  decord and torchcodec can decode the files on which
they were seen to give the same frames.
"""

import importlib
import logging
from abc import abstractmethod
from typing import Any

import numpy as np
from mmengine.logging import print_log

from .pyav_reader import PyAVReader
from .video_reader import Span, VideoReader

READERS = ('pyav', 'decord', 'torchcodec')


class _OtherReader(VideoReader):
    """A whole file that PyAV has counted, decoded by another package.

    Args:
        counted: The file, already counted.
        num_threads: Threads of the decoder.
    """

    def __init__(self, counted: PyAVReader, num_threads: int) -> None:
        super().__init__(
            counted.path,
            counted.avg_fps,
            counted.frame_stamps,
            counted.container_start,
        )
        self._decoder = self._start(counted.source(), num_threads)

    @abstractmethod
    def _start(self, source: Any, num_threads: int) -> Any:
        """The decoder of a path or of a file object."""

    def count(self) -> int:
        """Number of frames that the decoder knows of."""
        return len(self._decoder)

    def _release(self) -> None:
        # Neither package has a close: a decoder goes with its last reference.
        self._decoder = None


class _DecordReader(_OtherReader):
    """decord, MMAction2's usual decoder."""

    def _start(self, source: Any, num_threads: int) -> Any:
        import decord

        return decord.VideoReader(source, num_threads=num_threads)

    def _read(self, wanted: np.ndarray) -> np.ndarray:
        return self._decoder.get_batch(wanted).asnumpy()


class _TorchCodecReader(_OtherReader):
    """torchcodec; exact seeking scans the file when it is opened."""

    def _start(self, source: Any, num_threads: int) -> Any:
        from torchcodec.decoders import VideoDecoder

        return VideoDecoder(
            source,
            dimension_order='NHWC',
            num_ffmpeg_threads=num_threads,
            seek_mode='exact',
        )

    def _read(self, wanted: np.ndarray) -> np.ndarray:
        batch = self._decoder.get_frames_at(indices=wanted.tolist())
        return batch.data.numpy()


_OTHERS = dict(decord=_DecordReader, torchcodec=_TorchCodecReader)
_MODULES = dict(decord='decord', torchcodec='torchcodec.decoders')


def usable_reader(name: str) -> str:
    """The reader itself, or PyAV with a warning where it cannot be imported.

    Args:
        name: One of ``READERS``.

    Raises:
        ValueError: If the name is unknown.

    >>> usable_reader('pyav')
    'pyav'
    """
    if name not in READERS:
        raise ValueError(f'reader is one of {READERS}, not {name!r}.')
    try:
        importlib.import_module(_MODULES.get(name, 'av'))
    except (ImportError, OSError, RuntimeError) as error:
        # torchcodec raises RuntimeError where FFmpeg's libraries are absent
        why = str(error).strip().splitlines()[0]
        print_log(
            f"Videos are read by pyav: reader='{name}' cannot be used here "
            f"({why}); 'pip install {name}' if you need it.",
            logger='current',
            level=logging.WARNING,
        )
        return 'pyav'
    return name


def open_video(
    path: str,
    reader: str = 'pyav',
    *,
    data: bytes | None = None,
    num_threads: int = 1,
    span: Span | None = None,
    square_pixels: bool = True,
) -> VideoReader:
    """Open a video.

    Args:
        path: The file.
        reader: ``'pyav'``; or ``'decord'`` or ``'torchcodec'``, which decode
            whole files of the plainest kind (:meth:`PyAVReader.is_plain`)
            while PyAV reads all others.
        data: The whole file, for storage that has no local paths.
        num_threads: Threads of the decoder; 0 lets it choose.
        span: First and last second of the part to count; None: all of it.
        square_pixels: Whether frames with oblong pixels are made wider or
            narrower.

    Raises:
        MediaError: If the file cannot be read; names it.

    >>> with open_video('clip.mp4') as video:
    ...     video.read([0, 10]).shape
    (2, 240, 320, 3)
    """
    opened = PyAVReader(path, data, num_threads, span, square_pixels)
    whole = span is None or span == (None, None)
    if reader == 'pyav' or not whole or not opened.is_plain():
        return opened
    try:
        other = _OTHERS[reader](opened, num_threads)
    except RuntimeError as error:  # decord's DECORDError is one too
        why = str(error).splitlines()[0]
    else:
        if other.count() == opened.num_frames:
            opened.close()
            return other
        why = f'it counts {other.count()} frames, not {opened.num_frames}'
    print_log(
        f"'{path}' is read by pyav in place of {reader}: {why}",
        logger='current',
        level=logging.WARNING,
    )
    return opened
