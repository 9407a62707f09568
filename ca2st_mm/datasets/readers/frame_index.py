# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Which frames a file holds and when they are shown, without decoding."""

from collections.abc import Iterator
from typing import NamedTuple

import av
import numpy as np
from av.stream import Disposition

# Containers that store no presentation times; FFmpeg guesses them, and the
# guesses of packets and of decoded frames differ.
_WITHOUT_TIMES = ('avi',)
# Annotated times are rounded; a frame that starts a hair early counts.
SLACK = 1e-3
# How far before a clip the second try to find a key frame starts.
_STEP_BACK = 2.0

Span = tuple[float | None, float | None]


class FrameIndex(NamedTuple):
    """Frames in order of presentation.

    Attributes:
        stamps: float64 seconds on the container's clock, (num_frames,).
        pts: int64 presentation times in units of the stream, ascending;
            None where the container stores none, so that frames can only be
            counted from the start.
        keys: Numbers of the frames at which decoding can start.
        num_hidden: Frames that an edit list hides: stored, needed for
            decoding, never shown, and none of the above.
    """

    stamps: np.ndarray
    pts: np.ndarray | None
    keys: np.ndarray
    num_hidden: int


def video_stream(
    container: 'av.container.InputContainer',
) -> 'av.VideoStream':
    """The first video stream that is not a cover picture.

    Args:
        container: An open file.

    Raises:
        ValueError: If there is none.
    """
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise ValueError('it has no video stream')


def stores_times(container: 'av.container.InputContainer') -> bool:
    """Whether a file says when its frames are shown.

    Args:
        container: An open file.
    """
    return not any(name in container.format.name for name in _WITHOUT_TIMES)


def index_frames(
    container: 'av.container.InputContainer',
    stream: 'av.VideoStream',
    span: Span | None = None,
) -> FrameIndex:
    """Read packets and keep their times.

    With a span only the packets from the last key frame before it to its
    end are read, so the cost does not grow with the length of the file;
    frame 0 is then that key frame.  Containers without presentation times
    are read whole.

    Args:
        container: An open file.
        stream: Its video stream.
        span: First and last second; None in it for an open end.
    """
    base = float(stream.time_base)
    if not stores_times(container):
        return _count(container, stream)
    start, end = span or (None, None)
    low = (start or 0.0) - SLACK
    step = 0.0
    while True:
        target = max(low - step, 0.0)
        if span is not None:
            container.seek(int(target / base), stream=stream)
        found = _read(container.demux(stream), base, end)
        # A seek may land behind its target: some indexes are coarse, and
        # key frames are filed by decoding time.
        if target == 0 or (found and found[0][0] * base <= low):
            break
        step = 2 * step or _STEP_BACK
    first = found[0][0] if found else 0
    # Frames shown before the key frame but stored behind it need the one
    # before that.
    found = sorted(item for item in found if item[0] >= first)
    shown = [item for item in found if not item[2]]
    pts = np.array([item[0] for item in shown], np.int64)
    # The first one counts as a key frame: where its own is hidden, seeking
    # to it finds that one.
    keys = np.flatnonzero([item[1] or n == 0 for n, item in enumerate(shown)])
    return FrameIndex(pts * base, pts, keys, len(found) - len(shown))


def _read(
    packets: Iterator[av.Packet], base: float, end: float | None
) -> list[tuple[int, bool, bool]]:
    """(pts, is key, is hidden) up to the end, from a key frame on."""
    found, started = [], False
    for packet in packets:
        started = started or packet.is_keyframe
        if packet.pts is None or not started:
            continue
        # No frame is shown before it is decoded: behind this nothing of
        # the span can follow.
        last = packet.pts if packet.dts is None else packet.dts
        if end is not None and last * base >= end:
            break
        if end is None or packet.pts * base < end:
            found.append((packet.pts, packet.is_keyframe, packet.is_discard))
    return found


def _count(
    container: 'av.container.InputContainer', stream: 'av.VideoStream'
) -> FrameIndex:
    """An index by count: packets stand at an even distance."""
    base = float(stream.time_base)
    times = sorted(
        packet.pts if packet.pts is not None else packet.dts
        for packet in container.demux(stream)
        if packet.size
    )
    stamps = np.array(times, np.float64) * base
    if len(stamps):
        # FFmpeg's guess is late by the decoder's delay; the stream's own
        # start is right.
        stamps += (stream.start_time or 0) * base - stamps[0]
    return FrameIndex(stamps, None, np.zeros(1, np.int64), 0)


def narrow(stamps: np.ndarray, span: Span) -> tuple[int, int]:
    """The frames shown in a span.

    Args:
        stamps: Seconds, ascending.
        span: First and last second; None for an open end.

    Returns:
        First frame and the one after the last, with
        start <= stamp < end.
    """
    start, end = span
    low = 0 if start is None else np.searchsorted(stamps, start - SLACK)
    high = len(stamps) if end is None else np.searchsorted(stamps, end - SLACK)
    return int(low), int(high)
