# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Windows over long files and cameras, one after the other.

A window is sought by its time: neither time nor memory of a window depends
on how long the file is.
"""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import av
import numpy as np

from ca2st_mm.datasets.containers import (
    choose_stream,
    decoder_errors,
    missing_stream,
    open_container,
    start_of,
    stores_times,
)
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.datasets.pixels import to_rgb
from ca2st_mm.datasets.pyav_reader import PyAVReader
from ca2st_mm.datasets.video_reader import SLACK

from .prediction import Job
from .sources import ArrayClip

LIVE, REPLAYED = 'webcam:', 'camera:'
CAMERA_WINDOW = 2.0  # seconds, where no length is given
# Of a file; damaged time stamps can claim any length.
MAX_WINDOWS = 1_000_000
# How far before the announced end the last packet is looked for, at first.
_LOOK_BACK = 5.0

Frame = tuple[float, np.ndarray]


class Extent(NamedTuple):
    """When a file begins and ends.

    Attributes:
        start: Second of the first frame, or of the first audio.
        end: Second at which the last one ends.
        tick: Seconds of one frame; 0 for a file that is audio alone.
    """

    start: float
    end: float
    tick: float


class Windows:
    """The spans of a file that are predicted one by one.

    The first begins with the file, each later one ``stride`` after the one
    before, up to the one that reaches the end.  First and last are open
    towards the ends of the file, so that a window as long as the file is the
    whole file, with all of its audio.

    Args:
        path: The file.
        window: Seconds of a window.
        stride: Seconds from the start of one to that of the next.
        name: What answers call the file; None for its path.

    Raises:
        MediaError: If the file cannot be read, or claims an absurd length.
        ValueError: If a length is not positive.

    Example:
        >>> windows = Windows('clip.mp4', window=0.5, stride=0.5)
        >>> [round(job.shown['start'], 2) for job in windows]
        [0.0, 0.5, 1.0]
    """

    def __init__(
        self, path: str, window: float, stride: float, name: str | None = None
    ) -> None:
        check_lengths(window, stride)
        self.path, self.name = path, name or path
        self.window, self.stride = window, stride
        self.extent = extent_of(path)
        # A window that would show no new frame is left out.
        seconds = self.extent.end - self.extent.start - self.extent.tick / 2
        to_the_end = math.ceil((seconds - window) / stride)
        inside = math.ceil(seconds / stride) - 1
        self._count = max(min(to_the_end, inside), 0) + 1
        if self._count > MAX_WINDOWS:
            raise MediaError(
                'video',
                path,
                f'its frames are said to last {seconds:.3g} s, more than '
                f'{MAX_WINDOWS} windows',
            )

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Job]:
        for number in range(self._count):
            start = self.extent.start + number * self.stride
            end = start + self.window
            at_the_end = end > self.extent.end - self.extent.tick / 2
            shown = min(end, self.extent.end)
            yield Job(
                self.path,
                start if number else None,
                None if at_the_end else end,
                dict(source=self.name, start=start, end=shown),
            )


def check_lengths(window: float, stride: float) -> None:
    """Raise if no window fits these lengths.

    Args:
        window: Seconds of a window.
        stride: Seconds from the start of one to that of the next.

    Raises:
        ValueError: If one is not positive.
    """
    if not (window > 0 and stride > 0):
        raise ValueError(
            'the lengths of a window and of a stride are seconds above 0, '
            f'got {window:g} and {stride:g}'
        )


def extent_of(path: str) -> Extent:
    """Find out when a file begins and ends, without decoding it.

    What the header says of the length is not trusted: it may count the
    audio, or frames that were cut off.

    Args:
        path: Any container FFmpeg knows.

    Raises:
        MediaError: If it cannot be read; names it.
    """
    with decoder_errors('video', path), open_container(path) as file:
        stream, tick = choose_stream(file, 'video'), 0.0
        if stream is not None:
            tick = 1.0 / float(stream.average_rate or 25)
            if not stores_times(file):
                with PyAVReader(path) as reader:
                    stamps = reader.frame_stamps
                return Extent(stamps[0], stamps[-1] + tick, tick)
        else:
            stream = choose_stream(file, 'audio')
        if stream is None:
            raise missing_stream(file, 'video', path)
        base = float(stream.time_base)
        announced = start_of(file) + (file.duration or 0) / av.time_base
        return Extent(
            (stream.start_time or 0) * base,
            _end_of_packets(file, stream, announced),
            tick,
        )


def _end_of_packets(file, stream, announced: float) -> float:
    """When the last packet of a stream ends."""
    step = _LOOK_BACK
    while True:
        target = max(announced - step, 0.0)
        file.seek(int(target / stream.time_base), stream=stream)
        last = max(map(_end_of, file.demux(stream)), default=-math.inf)
        if last > -math.inf:
            return last * float(stream.time_base)
        if target == 0:
            raise ValueError('it has no frame')
        step *= 4


def _end_of(packet) -> float:
    if packet.pts is None:
        return -math.inf
    return packet.pts + (packet.duration or 0)


def is_camera(name: str) -> bool:
    """Whether a source is a camera: ``webcam:0`` or ``camera:FILE``."""
    return name.startswith((LIVE, REPLAYED))


def camera_jobs(name: str, window: float, stride: float) -> Iterator[Job]:
    """Windows of a camera, each as soon as its last frame is there.

    They are those of :class:`Windows`, without audio.  Only the frames of
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
