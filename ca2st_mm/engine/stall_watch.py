# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A run that stops making progress says which rank waits, where, and ends."""

import faulthandler
import logging
import os
import socket
import sys
import threading
import time
from datetime import timedelta
from functools import partialmethod
from pathlib import Path
from types import FrameType
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ca2st_mm.registry import HOOKS

MODES = dict(train='training', val='validation', test='test')


@HOOKS.register_module()
class StallWatchHook(Hook):
    """Warn when a process has been in one stage for long; then end it.

    Stages are what comes before a batch, in it and after it, and saving a
    checkpoint.  After ``minutes`` in one, each rank that waits logs one line
    with the function it is in (other ranks than 0 on stderr) and writes the
    stacks of its threads to ``stall_rank<R>.txt`` next to the log.  After
    ``end_minutes`` the process ends with status 1; what started the processes
    then ends the others.  Time for which it is stopped (SIGSTOP, Slurm's
    suspend) does not count.  If an extension holds the interpreter,
    :mod:`faulthandler` ends it after 24 times as long.

    Args:
        minutes: Longest stage without a warning.
        end_minutes: Longest stage at all; 1e6 switches it off.

    Raises:
        ValueError: If one is not positive.

    Example:
        >>> default_hooks = dict(
        ...     stall_watch=dict(type='StallWatchHook', minutes=20))
    """

    # Last at each point, so that what other hooks do is part of the stage
    # that they end, and a checkpoint ends with the hook that saved it.
    priority = 'LOWEST'

    def __init__(self, minutes: float = 5, end_minutes: float = 60) -> None:
        if not (minutes > 0 and end_minutes > 0):
            raise ValueError(
                'minutes and end_minutes of StallWatchHook are more than 0, '
                f'got {minutes} and {end_minutes}; 1e6 is never reached'
            )
        self.seconds = 60 * minutes
        self.limit = 60 * end_minutes
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def before_run(self, runner: Runner) -> None:
        """Start a thread that watches until the run ends."""
        self.after_run(runner)  # of an earlier run of the same runner
        path = Path(runner.log_dir) / f'stall_rank{runner.rank}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stacks = path.open('w')
        self._enter('at the start of the run')
        self._ended.clear()
        # Runner.train, val or test, which has called call_hook.
        run = sys._getframe(2)
        self._thread = threading.Thread(
            target=self._watch,
            args=(runner, threading.get_ident(), run),
            name='StallWatch',
            daemon=True,
        )
        self._thread.start()

    def after_run(self, runner: Runner) -> None:
        """Stop."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None

    def _enter(self, stage: str) -> None:
        """Note what begins, and put the end off again."""
        self._stage, self._since = stage, time.monotonic()
        # Needs no interpreter, but a process that was stopped for so long
        # would end as soon as it goes on.
        last_resort = min(24 * self.limit, threading.TIMEOUT_MAX)
        faulthandler.dump_traceback_later(
            last_resort, exit=True, file=self._stacks
        )

    def _watch(self, runner: Runner, thread: int, run: FrameType) -> None:
        told = since = None
        last, tick = time.monotonic(), min(1.0, self.seconds / 4)
        while not self._ended.wait(tick):
            try:
                run.clear()
                break  # the run raised
            except RuntimeError:  # refused, as the function still runs
                pass
            if since != self._since:
                since, stopped = self._since, 0.0
            stage, now = self._stage, time.monotonic()
            if now - last > 10 * tick:
                stopped += now - max(last, since)
            last, silence = now, now - since - stopped
            if since != told and silence >= self.seconds:
                told = since
                frame = sys._current_frames()[thread]
                _warn(
                    runner.logger,
                    f'Rank {runner.rank} (process {os.getpid()} on '
                    f'{socket.gethostname()}) has been {stage} for '
                    f'{timedelta(seconds=round(silence))}, now in '
                    f'{frame.f_code.co_name} ({frame.f_code.co_filename}:'
                    f'{frame.f_lineno}), and ends after '
                    f'{timedelta(seconds=round(self.limit))}; look at the '
                    'disk, the data workers and the device, and at a rank in '
                    'another stage, which holds up the others. Stacks: '
                    f'{self._stacks.name}',
                )
                faulthandler.dump_traceback(self._stacks)
            if silence >= self.limit:
                faulthandler.dump_traceback(self._stacks)
                os._exit(1)
        faulthandler.cancel_dump_traceback_later()
        empty = not os.fstat(self._stacks.fileno()).st_size
        self._stacks.close()
        if empty:
            Path(self._stacks.name).unlink(missing_ok=True)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """What is saved is complete and goes to the disk."""
        self._enter('saving a checkpoint')

    def _at(
        self,
        words: str,
        runner: Runner,
        batch_idx: int = 0,
        data_batch: Any = None,
        outputs: Any = None,
        mode: str = 'train',
    ) -> None:
        self._enter(words.format(MODES[mode], batch_idx + 1))

    _before_epoch = partialmethod(_at, 'before {} batch 1')
    _before_iter = partialmethod(_at, 'in {} batch {}')
    _after_iter = partialmethod(_at, 'after {} batch {}')
    _after_epoch = partialmethod(_at, 'after the end of {}')


def _warn(logger: logging.Logger, text: str) -> None:
    """On stderr where the logger drops it, as MMEngine's of other ranks do."""
    logger.warning(text)
    if all(h.level > logging.WARNING for h in logger.handlers):
        # In one piece, lines of other processes come between.
        sys.stderr.write(f'{text}\n')
        sys.stderr.flush()
