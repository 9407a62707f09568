# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Windows over pictures as a camera gives them, live or replayed."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import av
import numpy as np

from ca2st_mm.datasets.containers import (
    choose_stream,
    decoder_errors,
    missing_stream,
    open_container,
)
from ca2st_mm.datasets.video import SLACK, to_rgb

from .array_clip import ArrayClip
from .many import Job
from .windows import check_lengths

LIVE, REPLAYED = 'webcam:', 'camera:'

Frame = tuple[float, np.ndarray]


def is_camera(name: str) -> bool:
    """Whether a source is a camera: ``webcam:0`` or ``camera:FILE``."""
    return name.startswith((LIVE, REPLAYED))


def camera_jobs(name: str, window: float, stride: float) -> Iterator[Job]:
    """Windows of a camera, each as soon as its last frame is there.

    They are those of :class:`Windows`, without sound.  Only the frames of
    one window are kept.

    Args:
        name: ``webcam:NUMBER`` (Linux, ``/dev/videoNUMBER``), or
            ``camera:FILE`` for a file that is read as if it were one.
        window: Seconds of a window.
        stride: Seconds from the start of one to that of the next.

    Raises:
        MediaError: If the camera or the file cannot be read; names it.
        ValueError: If a length is not positive.
    """
    check_lengths(window, stride)
    with _frames(name) as frames:
        yield from _windows(frames, name, window, stride)


def _windows(
    frames: Iterator[Frame], name: str, window: float, stride: float
) -> Iterator[Job]:
    kept: deque[Frame] = deque()
    first, number, seen = None, 0, -np.inf
    for time, pixels in frames:
        first = time if first is None else first
        while time >= first + number * stride + window - SLACK:
            start = first + number * stride
            if kept:
                yield _job(kept, name, start, start + window)
            seen = start + window
            number += 1
            while kept and kept[0][0] < start + stride - SLACK:
                kept.popleft()
        if time >= first + number * stride - SLACK:
            kept.append((time, pixels))
    # What came after the last whole window.
    if kept and kept[-1][0] >= seen - SLACK:
        start = first + number * stride
        yield _job(kept, name, start, kept[-1][0] + 1 / _rate(kept))


def _job(kept: deque[Frame], name: str, start: float, end: float) -> Job:
    pixels = np.stack([pixels for _, pixels in kept])
    clip = ArrayClip(pixels, _rate(kept), start=kept[0][0], name=name)
    shown = dict(source=name, start=start, end=end)
    return Job(clip, start, None, shown)


def _rate(kept: deque[Frame]) -> float:
    """Frames a second, as they came."""
    seconds = kept[-1][0] - kept[0][0]
    return (len(kept) - 1) / seconds if seconds > 0 else 1.0


@contextmanager
def _frames(name: str) -> Iterator[Iterator[Frame]]:
    """Seconds and upright RGB pixels, one frame after the other."""
    with decoder_errors('video', name), _open(name) as container:
        stream = choose_stream(container, 'video')
        if stream is None:
            raise missing_stream(container, 'video', name)
        # A camera's clock may count from anywhere.
        live = name.startswith(LIVE)
        zero = None if live else 0.0

        def read() -> Iterator[Frame]:
            nonlocal zero
            for frame in container.decode(stream):
                if zero is None:
                    zero = frame.time
                yield frame.time - zero, to_rgb(frame)

        yield read()


def _open(name: str) -> 'av.container.InputContainer':
    if name.startswith(LIVE):
        device = f'/dev/video{name.removeprefix(LIVE)}'
        return av.open(device, format='v4l2')
    return open_container(name.removeprefix(REPLAYED))
