# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Opening videos: which reader decodes a file.

PyAV reads every file.  decord and torchcodec can decode the files on which
they were seen to give the same frames.
"""

import importlib
import io
import logging
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from mmengine.logging import print_log

from .pyav_reader import PyAVReader
from .video_reader import Span, VideoReader

READERS = ('pyav', 'decord', 'torchcodec')

# Number of frames, and what decodes ascending numbers to (N, H, W, 3).
_Decoder = tuple[int, Callable[[np.ndarray], np.ndarray]]


def _decord(source: Any, num_threads: int) -> _Decoder:
    import decord

    video = decord.VideoReader(source, num_threads=num_threads)
    return len(video), lambda wanted: video.get_batch(wanted).asnumpy()


def _torchcodec(source: Any, num_threads: int) -> _Decoder:
    from torchcodec.decoders import VideoDecoder

    video = VideoDecoder(
        source,
        dimension_order='NHWC',
        num_ffmpeg_threads=num_threads,
        seek_mode='exact',  # scans the file now
    )

    def read(wanted: np.ndarray) -> np.ndarray:
        return video.get_frames_at(indices=wanted.tolist()).data.numpy()

    return len(video), read


_OTHERS = dict(decord=_decord, torchcodec=_torchcodec)


def usable_reader(name: str) -> str:
    """The reader itself, or PyAV with a warning where it cannot be imported.

    Args:
        name: One of ``READERS``.

    Raises:
        ValueError: If the name is unknown.

    >>> usable_reader('pyav')
    'pyav'
    """
    modules = dict(pyav='av', torchcodec='torchcodec.decoders')
    if name not in READERS:
        raise ValueError(f'reader is one of {READERS}, not {name!r}.')
    try:
        importlib.import_module(modules.get(name, name))
    except (ImportError, OSError, RuntimeError) as error:
        # torchcodec raises RuntimeError where FFmpeg's libraries are absent
        why = str(error).strip().splitlines()[0]
        _warn(
            f"Videos are read by pyav: reader='{name}' cannot be used here "
            f"({why}); 'pip install {name}' if you need it."
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
    indexed = PyAVReader(path, data, num_threads, span, square_pixels)
    whole = span is None or span == (None, None)
    if reader == 'pyav' or not whole or not indexed.is_plain():
        return indexed
    # A colon after '/' is no protocol.
    source = os.path.abspath(path) if data is None else io.BytesIO(data)
    try:
        decoder = _OTHERS[reader](source, num_threads)
    except RuntimeError as error:  # decord's DECORDError is one too
        why = str(error).splitlines()[0]
    else:
        if decoder[0] == indexed.num_frames:
            indexed.close()
            return VideoReader(
                path,
                indexed.avg_fps,
                indexed.frame_stamps,
                indexed.container_start,
                decoder[1],
            )
        why = f'it counts {decoder[0]} frames, not {indexed.num_frames}'
    _warn(f"'{path}' is read by pyav in place of {reader}: {why}")
    return indexed


def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)
