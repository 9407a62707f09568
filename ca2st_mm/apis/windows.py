# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Windows over long files and streams, and events of what they show.

A window is found by seeking to its time: neither time nor memory of a window
depends on how long the file is.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from math import inf
from typing import Any, NamedTuple

import av

from ca2st_mm.datasets.containers import (
    choose_stream,
    decoder_errors,
    missing_stream,
    open_container,
    start_of,
    stores_times,
)
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.datasets.video import SLACK, PyAVReader

from .prediction import UNKNOWN, Ranking

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


# Source, start and end of an answer.
Key = tuple[str, float | None, float | None]


class Extent(NamedTuple):
    """When a file begins and ends.

    Attributes:
        start: Second of the first frame, or of the first audio.
        end: Second at which the last one ends.
        frame_duration: Of the last frame, seconds; about 0 of audio alone.
    """

    start: float
    end: float
    frame_duration: float


@dataclass(frozen=True)
class Spans:
    """Windows by number, the same ones for files and for streams.

    A window that would show no new frame is left out, and the last one is
    open towards the end, so that it has all of the audio.

    Args:
        start: When the first one begins, in seconds.
        window: Seconds of a window.
        stride: Seconds from the start of one to that of the next.

    Raises:
        ValueError: If a length is not positive.

    Example:
        >>> spans = Spans(0.0, window=3.0, stride=1.5)
        >>> spans.count(last=7.375), spans.at(3), spans.is_open(3, 7.375)
        (4, (4.5, 7.5), True)
    """

    start: float
    window: float
    stride: float

    def __post_init__(self) -> None:
        if not (self.window > 0 and self.stride > 0):
            raise ValueError(
                'the lengths of a window and of a stride are seconds above '
                f'0, got {self.window:g} and {self.stride:g}'
            )

    def at(self, number: int) -> tuple[float, float]:
        """First and last second of a window."""
        start = self.start + number * self.stride
        return start, start + self.window

    def count(self, last: float) -> int:
        """How many windows there are if the last frame is shown then."""
        seconds = last - self.start + SLACK
        after_one = math.floor((seconds - self.window) / self.stride) + 1
        begun = math.floor(seconds / self.stride)
        return max(min(after_one, begun), 0) + 1

    def is_open(self, number: int, last: float) -> bool:
        """Whether a window reaches beyond the last frame."""
        return last < self.at(number)[1] - SLACK


def windows_of(
    path: str,
    window: float,
    stride: float,
    name: str | None = None,
    span: tuple[float | None, float | None] = (None, None),
) -> Iterator[Job]:
    """The spans of a file that are predicted one by one.

    The file is looked at in the call; each span is made when its turn comes.
    First and last are open towards the ends of the file, so that a window as
    long as the file is the whole file, with all of its audio.

    Args:
        path: The file.
        window: Seconds of a window.
        stride: Seconds from the start of one to that of the next.
        name: What answers call the file; None for its path.
        span: First and last second of the part that is cut; None for the
            ends of the file.

    Raises:
        MediaError: If the file cannot be read, or claims an absurd length.
        ValueError: If a length is not positive.

    Example:
        >>> windows = windows_of('clip.mp4', window=0.5, stride=0.5)
        >>> [round(job.shown['start'], 2) for job in windows]
        [0.0, 0.5, 1.0]
    """
    start, end, frame_duration = extent_of(path)
    if span[0] is not None:
        start = max(start, span[0])
    if span[1] is not None:
        end = min(end, span[1])
    spans, last = Spans(start, window, stride), end - frame_duration
    count = spans.count(last)
    if count > MAX_WINDOWS:
        raise MediaError(
            'video',
            path,
            f'its frames are said to last {end - start:.3g} s, more than '
            f'{MAX_WINDOWS} windows',
        )

    def job(number: int) -> Job:
        begin, finish = spans.at(number)
        is_open = spans.is_open(number, last)
        return Job(
            path,
            begin if number else span[0],
            span[1] if is_open else finish,
            dict(source=name or path, start=begin, end=min(finish, end)),
        )

    return map(job, range(count))


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
        stream, frame_duration = choose_stream(file, 'video'), 0.0
        if stream is not None:
            frame_duration = 1.0 / float(stream.average_rate or 25)
            if not stores_times(file):
                with PyAVReader(path) as reader:
                    stamps = reader.frame_times
                return Extent(
                    stamps[0], stamps[-1] + frame_duration, frame_duration
                )
        else:
            stream = choose_stream(file, 'audio')
        if stream is None:
            raise missing_stream(file, 'video', path)
        announced = start_of(file) + (file.duration or 0) / av.time_base
        start = (stream.start_time or 0) * stream.time_base
        last, end = _last_packet(file, stream, announced)
        if end > last and frame_duration:
            frame_duration = end - last
        elif frame_duration:
            end = last + frame_duration
        return Extent(float(start), end, frame_duration or 2 * SLACK)


def _last_packet(file, stream, announced: float) -> tuple[float, float]:
    """When the last packet of a stream is shown, and when it ends."""
    step, start = _LOOK_BACK, stream.start_time or 0
    while True:
        # FLV finds nothing that lies before the start.
        target = max(int((announced - step) / stream.time_base), start)
        try:
            file.seek(target, stream=stream)
        except av.FFmpegError:  # without an index: read from the start
            target = start
        spans = [
            (packet.pts, packet.pts + (packet.duration or 0))
            for packet in file.demux(stream)
            if packet.pts is not None
        ]
        if spans:
            last, end = map(max, zip(*spans, strict=True))
            seconds = stream.time_base
            return float(last * seconds), float(end * seconds)
        if target == start:
            raise ValueError('it has no frame')
        step *= 4


class Event(NamedTuple):
    """A stretch of a file in which windows give the same class.

    Attributes:
        source: The file.
        start: First second.
        end: Last second.
        label: The class.
        score: Mean of its probability in these windows.
    """

    source: str
    start: float
    end: float
    label: str
    score: float


def merge_windows(
    windows: Iterable[tuple[Key, Ranking]], multi_label: bool = False
) -> Iterator[Event]:
    """Join windows that follow each other and give the same class.

    Windows that overlap share what they have in common, half each.  Windows
    that are unknown, or without classes as a failure is, are no event.

    Args:
        windows: Classes of each window, a source after the other, in the
            order of time.
        multi_label: Whether all of its classes are meant, or the best alone.

    Yields:
        Each event when it has ended, which the next window shows.

    Example:
        >>> run, walk = (('run', 0.75),), (('walk', 0.5),)
        >>> spans = ('a', 0.0, 2.0), ('a', 1.0, 3.0), ('a', 2.0, 4.0)
        >>> for event in merge_windows(zip(spans, (run, run, walk))):
        ...     print(*event)
        a 0.0 2.5 run 0.75
        a 2.5 4.0 walk 0.5
    """
    middle = None  # of what a window shares with the one before
    running: dict[str, tuple[Event, int]] = {}
    windows = (window for window in windows if None not in window[0])
    last = (None, inf, inf), ()
    for (key, ranking), (after, _) in pairwise(chain(windows, [last])):
        source, start, end = key
        start, middle = start if middle is None else middle, None
        if after[0] == source and after[1] < end:
            end = middle = (after[1] + end) / 2
        before, running = running, {}
        for label, score in ranking if multi_label else ranking[:1]:
            if label == UNKNOWN:
                continue
            event, count = before.get(label, (None, 0))
            if event and event.source == source and event.end > start - 1e-6:
                del before[label]
                score = (event.score * count + score) / (count + 1)
                event = event._replace(end=end, score=score)
            else:
                event, count = Event(source, start, end, label, score), 0
            running[label] = event, count + 1
        yield from (event for event, _ in before.values())
    yield from (event for event, _ in running.values())
