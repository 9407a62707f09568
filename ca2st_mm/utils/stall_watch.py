# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A thread that notices when another one stays in one place for too long."""

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from itertools import takewhile
from types import FrameType
from typing import Any, NamedTuple

LOOK = 1.0  # seconds from one look to the next, at most
INNERMOST = 5  # frames that are always shown
PASSED_THROUGH = ('torch', 'mmengine')  # outside these, left out

Report = Callable[[Any, float, str], None]


class _Mark(NamedTuple):
    """What was begun, and when on the monotonic clock, seconds."""

    describe: Callable[..., Any]
    args: tuple
    since: float


class StallWatch:
    """Reports when the watched thread begins nothing new for a while.

    :meth:`enter` costs the watched thread a look at the clock and an
    assignment; what was entered is put into words only for a report.  The
    watch ends with :meth:`stop`, or by itself when the function it watches
    has returned or raised.  It needs the interpreter: a C extension that
    keeps the GIL while it hangs keeps the watch from speaking, too.

    Args:
        patience: Seconds without :meth:`enter` after which it reports; the
            next report follows when the silence is twice as long, and so on.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._thread: threading.Thread | None = None
        self._ended: threading.Event | None = None
        self._last: _Mark | None = None

    def enter(self, describe: Callable[..., Any], *args: Any) -> None:
        """Note that something begins; ``describe(*args)`` says what."""
        self._last = _Mark(describe, args, time.monotonic())

    def start(self, function: FrameType, report: Report) -> None:
        """Watch the calling thread for as long as a function runs.

        Call :meth:`enter` first.

        Args:
            function: Frame of the function, on the stack of this thread.
            report: Called in the thread of the watch with what
                ``describe`` gave, the seconds of silence and the stack of
                the watched thread.
        """
        self.stop()
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._run,
            args=(threading.get_ident(), function, self._ended, report),
            name='StallWatch',
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """End the watch and wait for its thread."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = self._ended = None

    def _run(
        self,
        thread: int,
        function: FrameType,
        ended: threading.Event,
        report: Report,
    ) -> None:
        reported, patience = None, self.patience
        while not ended.wait(min(LOOK, self.patience / 4)):
            if not _runs(thread, function):
                return
            last = self._last
            if last is not reported:
                patience = self.patience
            silence = time.monotonic() - last.since
            if silence >= patience:
                stack = stack_text(thread, function)
                report(last.describe(*last.args), silence, stack)
                reported, patience = last, 2 * silence


def stack_text(thread: int, function: FrameType) -> str:
    """Where a thread stands below a function, in the form of a traceback.

    Args:
        thread: Identifier of the thread.
        function: Frame of the function.

    Returns:
        The innermost frames, and of the others those outside torch and
        MMEngine, through which every step passes; the innermost comes last.
    """
    outer = function.f_back
    below = takewhile(lambda frame: frame is not outer, _frames(thread))
    shown = [
        (frame, frame.f_lineno)
        for depth, frame in enumerate(below)
        if depth < INNERMOST or _package(frame) not in PASSED_THROUGH
    ]
    lines = traceback.StackSummary.extract(reversed(shown)).format()
    return ''.join(lines).rstrip()


def _package(frame: FrameType) -> str:
    return frame.f_globals.get('__name__', '').partition('.')[0]


def _runs(thread: int, function: FrameType) -> bool:
    """Whether a thread still is within a function.

    Asked twice: a generator that pauses between two steps of a look breaks
    the chain of frames.
    """
    return any(function in _frames(thread) for _ in range(2))


def _frames(thread: int) -> Iterator[FrameType]:
    """The frames of a thread from the innermost one; none if it has ended."""
    return _outward(sys._current_frames().get(thread))


def _outward(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
