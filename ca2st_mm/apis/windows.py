# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Windows over long files and cameras, one after the other.

A window is sought by its time: neither time nor memory of a window depends
on how long the file is.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

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

from .sources import ArrayClip

LIVE, REPLAYED = 'webcam:', 'camera:'
CAMERA_WINDOW = 2.0  # seconds, where no length is given
# Of a file; damaged time stamps can claim any length.
MAX_WINDOWS = 1_000_000
# How far before the announced end the last packet is looked for, at first.
_LOOK_BACK = 5.0


class Job(NamedTuple):
    """A source, or a span of it, that is to be predicted.

    Attributes:
        source: As :meth:`Recognizer.prepare` takes it.
        start: First second wanted; None for the beginning.
        end: Last second wanted; None for the end.
        shown: ``source``, ``start`` and ``end`` as the answer shows them.
    """

    source: Any
    start: float | None
    end: float | None
    shown: Mapping[str, Any]


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

    First and last are open towards the ends of the file, so that a window as
    long as the file is the whole file, with all of its audio.

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
        self.path, self.name = path, name or path
        self.window, self.stride = window, stride
        self.extent = extent_of(path)
        self._count = count_windows(self.extent, window, stride)
        if self._count > MAX_WINDOWS:
            seconds = self.extent.end - self.extent.start
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


def count_windows(extent: Extent, window: float, stride: float) -> int:
    """How many windows an extent has, up to the one that reaches the end.

    A window that would show no new frame is left out.

    Raises:
        ValueError: If a length is not positive.

    Example:
        >>> count_windows(Extent(0.0, 7.5, 0.125), 3, 1.5)
        4
    """
    _check_lengths(window, stride)
    seconds = extent.end - extent.start - extent.tick / 2
    to_the_end = math.ceil((seconds - window) / stride)
    inside = math.ceil(seconds / stride) - 1
    return max(min(to_the_end, inside), 0) + 1


def _check_lengths(window: float, stride: float) -> None:
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

    Example:
        >>> extent = extent_of('clip.mp4')
        >>> 0 <= extent.start < extent.end
        True
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
        announced = start_of(file) + (file.duration or 0) / av.time_base
        start = (stream.start_time or 0) * stream.time_base
        end = _end_of_packets(file, stream, announced)
        return Extent(float(start), end, tick)


def _end_of_packets(file, stream, announced: float) -> float:
    """When the last packet of a stream ends."""
    step = _LOOK_BACK
    while True:
        target = max(announced - step, 0.0)
        file.seek(int(target / stream.time_base), stream=stream)
        ends = [
            packet.pts + (packet.duration or 0)
            for packet in file.demux(stream)
            if packet.pts is not None
        ]
        if ends:
            return float(max(ends) * stream.time_base)
        if target == 0:
            raise ValueError('it has no frame')
        step *= 4


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
    _check_lengths(window, stride)
    kept: deque[tuple[float, np.ndarray]] = deque()
    first, number, seen = None, 0, -math.inf

    def job(start: float, end: float | None = None) -> Job:
        times, frames = zip(*kept, strict=True)
        seconds = times[-1] - times[0]
        fps = (len(times) - 1) / seconds if seconds > 0 else 1.0
        clip = ArrayClip(np.stack(frames), fps, start=times[0], name=name)
        end = times[-1] + 1 / fps if end is None else end
        return Job(clip, start, None, dict(source=name, start=start, end=end))

    for time, pixels in _frames(name):
        first = time if first is None else first
        while time >= first + number * stride + window - SLACK:
            start = first + number * stride
            if kept:
                yield job(start, start + window)
            seen = start + window
            number += 1
            while kept and kept[0][0] < start + stride - SLACK:
                kept.popleft()
        if time >= first + number * stride - SLACK:
            kept.append((time, pixels))
    # What came after the last whole window.
    if kept and kept[-1][0] >= seen - SLACK:
        yield job(first + number * stride)


def _frames(name: str) -> Iterator[tuple[float, np.ndarray]]:
    """Seconds and upright RGB pixels, one frame after the other."""
    live = name.startswith(LIVE)
    with decoder_errors('video', name):
        if live:
            device = f'/dev/video{name.removeprefix(LIVE)}'
            opened = av.open(device, format='v4l2')
        else:
            opened = open_container(name.removeprefix(REPLAYED))
        with opened as container:
            stream = choose_stream(container, 'video')
            if stream is None:
                raise missing_stream(container, 'video', name)
            # A camera's clock may count from anywhere.
            zero = None if live else 0.0
            for frame in container.decode(stream):
                zero = frame.time if zero is None else zero
                yield frame.time - zero, to_rgb(frame)
