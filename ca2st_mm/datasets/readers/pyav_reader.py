# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Frames by PyAV, whose wheel carries FFmpeg."""

from collections.abc import Iterator

import av
import numpy as np
from av.error import FFmpegError

from .base import (
    Source,
    VideoReader,
    named_faults,
)
from .frame_index import (
    Span,
    index_frames,
    video_stream,
)

_ERRORS = (FFmpegError, OSError, RuntimeError, ValueError)


class PyAVReader(VideoReader):
    """Read a video, or a span of a long one, with PyAV.

    Decoding starts at the key frame before the wanted frame.  With a span
    neither opening nor reading touches the rest of the file, and frame 0
    is the key frame at or before the start of the span.

    Args:
        source: The file.
        num_threads: Threads of the decoder; 0 lets FFmpeg choose.
        span: First and last second of the part to index; None: all of it.

    Raises:
        MediaError: If the file cannot be read; names it.
    """

    def __init__(
        self,
        source: Source,
        num_threads: int = 1,
        span: Span | None = None,
    ) -> None:
        with named_faults(source.path, *_ERRORS):
            self._container = av.open(source.open())
        try:
            with named_faults(source.path, *_ERRORS):
                stream = video_stream(self._container)
                stream.codec_context.thread_count = num_threads
                self._stream = stream
                self._index = index_frames(self._container, stream, span)
            fps = _average_rate(stream, self._index.stamps)
            super().__init__(source.path, fps, self._index.stamps)
        except BaseException:
            self._container.close()
            raise

    def _decode(self, wanted: np.ndarray) -> np.ndarray:
        with named_faults(self.path, *_ERRORS):
            return self._collect(wanted)

    def _collect(self, wanted: np.ndarray) -> np.ndarray:
        """Walk through the file once, skipping where it pays."""
        frames, at = [], -1
        walk: Iterator[tuple[int, av.VideoFrame]] = iter(())
        keys = self._index.keys
        for target in wanted:
            key = keys[max(np.searchsorted(keys, target, 'right') - 1, 0)]
            if at < 0 or key > at:
                walk = self._walk(key)
            reached = ((n, frame) for n, frame in walk if n >= target)
            at, frame = next(reached, (-1, None))
            if at != target:
                raise RuntimeError('one of its frames cannot be decoded')
            frames.append(upright(frame))
        return np.stack(frames)

    def _walk(self, key: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames with their numbers, from a key frame on."""
        pts = self._index.pts
        if pts is None:
            self._container.seek(0, stream=self._stream)
            yield from enumerate(self._container.decode(self._stream))
            return
        self._container.seek(int(pts[key]), stream=self._stream)
        for frame in self._container.decode(self._stream):
            if frame.pts is not None and frame.pts >= pts[key]:
                yield int(np.searchsorted(pts, frame.pts)), frame

    def _release(self) -> None:
        self._container.close()


def _average_rate(stream: 'av.VideoStream', stamps: np.ndarray) -> float:
    """Frames a second, from the header or else from the stamps.

    Args:
        stream: The video stream.
        stamps: Seconds of its frames.
    """
    if stream.average_rate:
        return float(stream.average_rate)
    seconds = stamps[-1] - stamps[0] if len(stamps) > 1 else 0.0
    return (len(stamps) - 1) / seconds if seconds > 0 else 1.0


def upright(frame: av.VideoFrame) -> np.ndarray:
    """Pixels as a player shows them: the display matrix applied."""
    pixels = frame.to_ndarray(format='rgb24')
    turns = round(frame.rotation / 90) % 4
    return np.rot90(pixels, turns) if turns else pixels
