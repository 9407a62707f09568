# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""decord and torchcodec, which may decode plain files in place of PyAV.

PyAV indexes every file; the others decode those on which they were seen to
give the same frames.
"""

import importlib
import io
import os
from collections.abc import Callable
from typing import Any

import av
import numpy as np

from .containers import choose_stream, decoder_errors, open_container
from .faults import warn
from .h264 import has_idr
from .pixels import display_matrix, shown_size
from .video import PyAVReader, Span, VideoReader

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


_DECODERS = dict(decord=_decord, torchcodec=_torchcodec)


def usable_reader(name: str) -> str:
    """The reader itself, or PyAV with a warning where it cannot be imported.

    >>> usable_reader('pyav')
    'pyav'

    Raises:
        ValueError: If ``name`` is none of ``READERS``.
    """
    modules = dict(pyav='av', torchcodec='torchcodec.decoders')
    if name not in READERS:
        raise ValueError(f'reader is one of {READERS}, not {name!r}.')
    try:
        importlib.import_module(modules.get(name, name))
    except (ImportError, OSError, RuntimeError) as error:
        # torchcodec raises RuntimeError where FFmpeg's libraries are absent
        why = str(error).strip().splitlines()[0]
        warn(
            f"Videos are read by pyav: reader='{name}' cannot be used here "
            f"({why}); 'pip install {name}' if you need it."
        )
        return 'pyav'
    return name


def open_video(
    path: str,
    reader: str = 'pyav',
    data: bytes | None = None,
    num_threads: int = 1,
    span: Span | None = None,
    square_pixels: bool = True,
) -> VideoReader:
    """Open a video.

    ``reader`` is ``'pyav'``; or ``'decord'`` or ``'torchcodec'``, which
    decode whole files that :func:`is_plain` while PyAV reads all others.
    Other arguments are those of :class:`PyAVReader`; ``span`` is in seconds.

    Raises:
        MediaError: If the file cannot be read; names it.
        EmptyClipError: If it has no frame before the end of the span.

    >>> with open_video('clip.mp4') as video:
    ...     video.read([0, 10]).shape
    (2, 240, 320, 3)
    """
    indexed = PyAVReader(path, data, num_threads, span, square_pixels)
    whole = span is None or span == (None, None)
    if reader == 'pyav' or not whole or not is_plain(indexed, data):
        return indexed
    # A colon after '/' is no protocol.
    source = os.path.abspath(path) if data is None else io.BytesIO(data)
    try:
        count, decode = _DECODERS[reader](source, num_threads)
    except RuntimeError as error:  # decord's DECORDError is one too
        why = str(error).splitlines()[0]
    else:
        if count == indexed.num_frames:
            indexed.close()
            return VideoReader(
                path,
                indexed.avg_fps,
                indexed.frame_times,
                indexed.container_start,
                decode,
            )
        why = f'it counts {count} frames, not {indexed.num_frames}'
    warn(f"'{path}' is read by pyav in place of {reader}: {why}")
    return indexed


def is_plain(video: PyAVReader, data: bytes | None = None) -> bool:
    """Whether other decoders are known to give the same frames.

    True for a whole H.264 file in mp4 whose packets are its frames, at an
    even rate from about 0 s, upright, with square pixels, and whose key
    frames need nothing before them.

    Args:
        video: The file.
        data: Its bytes, for storage that has no local paths.

    Raises:
        MediaError: If the file cannot be read; names it.
    """
    stamps = video.frame_times
    uneven = np.abs(np.diff(stamps) - 1 / video.avg_fps) > 1e-3
    if not video.has_index or uneven.any() or not 0 <= stamps[0] <= 0.5:
        return False
    with (
        decoder_errors('video', video.path),
        open_container(video.path, data) as container,
    ):
        stream = choose_stream(container, 'video')
        codec, seconds = stream.codec_context, container.duration or 0
        if (
            'mov' not in container.format.name.split(',')
            or len(container.streams.video) > 1
            or seconds / av.time_base > 2 * stamps[-1] + 10
            or codec.name != 'h264'
            or not codec.extradata
        ):
            return False
        frame, prefix = None, 1 + (codec.extradata[4] & 3)
        for packet in container.demux(stream):
            # decord jumps to all that the file calls key frames.
            if packet.is_keyframe and not has_idr(memoryview(packet), prefix):
                return False
            frame = frame or next(iter(packet.decode()), None)
        return (
            display_matrix(frame) is None
            and (frame.width, frame.height) == shown_size(frame, video.ratio)
            and frame.format.name in ('yuv420p', 'yuvj420p')
        )
