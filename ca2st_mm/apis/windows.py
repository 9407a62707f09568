# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Windows over a file of any length, one after the other.

A window is sought by its time: neither time nor memory of a window depends
on how long the file is.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import av

from ca2st_mm.datasets.containers import (
    choose_stream,
    decoder_errors,
    missing_stream,
    open_container,
    start_of,
    stores_times,
)
from ca2st_mm.datasets.video import PyAVReader

from .many import Job

# How far before the announced end the last packet is looked for, at first.
_LOOK_BACK = 5.0


class Extent(NamedTuple):
    """When a file begins and ends.

    Attributes:
        start: Second of the first frame, or of the first sound.
        end: Second at which the last one ends.
        tick: Seconds of one frame; 0 for a file that is sound alone.
    """

    start: float
    end: float
    tick: float


class Windows:
    """The spans of a file that are predicted one by one.

    The first begins with the file, each later one ``stride`` after the one
    before, up to the one that reaches the end.  First and last are open
    towards the ends of the file, so that a window as long as the file is the
    whole file, with all of its sound.

    Args:
        path: The file.
        window: Seconds of a window.
        stride: Seconds from the start of one to that of the next.
        name: What answers call the file; None for its path.

    Raises:
        MediaError: If the file cannot be read; names it.
        ValueError: If a length is not positive.
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
    sound, or frames that were cut off.

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
