# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A run that stops making progress says which rank waits, where, for what."""

import faulthandler
import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import timedelta
from operator import length_hint
from pathlib import Path
from types import FrameType
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from ca2st_mm.registry import HOOKS

MODES = dict(train='training', val='validation', test='test')
DATA = 'look at the disk, for a very long file, and at the data workers'
WORK = 'look at how busy the device is'


@HOOKS.register_module()
class StallWatchHook(Hook):
    """Warn when a process of a run has been in one stage for long.

    Stages are waiting for a batch, a step, a validation batch, the metrics, a
    checkpoint.  If one lasts for ``minutes``, each rank that waits logs one
    line (ranks other than 0, whose warnings MMEngine drops, write to stderr)
    and :mod:`faulthandler` writes the stacks of its threads to
    ``stall_rank<R>.txt`` next to the log, even if a C extension hangs without
    releasing the interpreter.  The line comes again when the time has
    doubled.  Nothing is interrupted, and the device is never waited for.

    Args:
        minutes: Longest stage without a warning; 1e6 switches it off.

    Raises:
        ValueError: If ``minutes`` is not positive.
    """

    # Last at each point, so that what other hooks do is part of the stage
    # that they end, and a checkpoint ends with the hook that saved it.
    priority = 'LOWEST'

    def __init__(self, minutes: float = 5) -> None:
        if not minutes > 0:
            raise ValueError(
                f'minutes of StallWatchHook are more than 0, got {minutes}; '
                'with 1e6 it never warns'
            )
        self.seconds = 60 * minutes
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def before_run(self, runner: Runner) -> None:
        """Start a thread that watches until the run ends."""
        self.after_run(runner)  # of an earlier run of the same runner
        path = Path(runner.log_dir) / f'stall_rank{runner.rank}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stacks = path.open('w')
        self._enter('starting the run', 'look at the disk of the checkpoints')
        self._ended.clear()
        function = _outermost(sys._getframe(1), runner)
        self._thread = threading.Thread(
            target=self._watch,
            args=(runner, threading.get_ident(), function),
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

    def _enter(self, stage: str, look: str) -> None:
        """Note what begins, and put the dump of the stacks off again."""
        self._stage, self._since = (stage, look), time.monotonic()
        faulthandler.dump_traceback_later(
            min(self.seconds, threading.TIMEOUT_MAX),
            repeat=True,
            file=self._stacks,
        )

    def _watch(self, runner: Runner, thread: int, function: FrameType) -> None:
        told, patience = None, self.seconds
        while not self._ended.wait(min(1.0, self.seconds / 4)):
            frames = list(_outward(sys._current_frames().get(thread)))
            if function not in frames:
                break  # the run raised
            since, stage = self._since, self._stage
            if since != told:
                patience = self.seconds
            silence = time.monotonic() - since
            if silence >= patience:
                self._tell(runner, *stage, silence, frames[0])
                told, patience = since, 2 * silence
        faulthandler.cancel_dump_traceback_later()
        empty = not os.fstat(self._stacks.fileno()).st_size
        self._stacks.close()
        if empty:
            Path(self._stacks.name).unlink(missing_ok=True)

    def _tell(
        self,
        runner: Runner,
        stage: str,
        look: str,
        silence: float,
        frame: FrameType,
    ) -> None:
        [place] = traceback.StackSummary.extract([(frame, frame.f_lineno)])
        others = ''
        if runner.world_size > 1:
            others = '; the rank at another stage holds up the others'
        warn_from_any_rank(
            runner.logger,
            f'Rank {runner.rank} (process {os.getpid()} on '
            f'{socket.gethostname()}) has been {stage} for '
            f'{timedelta(seconds=round(silence))}, now in {place.name} '
            f'({place.filename}:{place.lineno}): {look}{others}. Stacks: '
            f'{self._stacks.name}',
        )

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """The batch is here."""
        self._enter(f'in {_batch(runner, "train", batch_idx)}', WORK)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """What is saved is complete and goes to the disk."""
        self._enter('saving a checkpoint', f'is {runner.work_dir} full?')

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        self._enter(f'waiting for {_batch(runner, mode, 0)}', DATA)

    def _before_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        mode: str = 'train',
    ) -> None:
        look = f'{WORK}; a long clip of many views takes long'
        self._enter(f'in {_batch(runner, mode, batch_idx)}', look)

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
        mode: str = 'train',
    ) -> None:
        if batch_idx + 1 != _length(runner, mode):
            batch = _batch(runner, mode, batch_idx + 1)
            self._enter(f'waiting for {batch}', DATA)
        elif mode == 'train':
            self._enter('at the end of the epoch', DATA)
        else:
            stage = f'computing the metrics of the {MODES[mode]}'
            self._enter(stage, 'all ranks gather their results first')

    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        self._enter(f'after the end of {MODES[mode]}', WORK)


def warn_from_any_rank(logger: logging.Logger, text: str) -> None:
    """Warn; on stderr where the logger would drop it.

    MMEngine shows only errors of ranks other than 0.

    Args:
        logger: That of the runner.
        text: The warning; says of which rank it is.
    """
    logger.warning(text)
    if all(h.level > logging.WARNING for h in logger.handlers):
        # In one piece, lines of other processes come between.
        sys.stderr.write(f'{text}\n')
        sys.stderr.flush()


def _batch(runner: Runner, mode: str, batch_idx: int) -> str:
    """For example 'training batch 3 of 10 of epoch 2'."""
    total = _length(runner, mode)
    of = f' of {total}' if total else ''
    if mode == 'train' and total:
        of += f' of epoch {runner.epoch + 1}'
    return f'{MODES[mode]} batch {batch_idx + 1}{of}'


def _length(runner: Runner, mode: str) -> int:
    """Batches of an epoch; 0 if unknown, or if the loop has no epochs."""
    if mode == 'train' and not isinstance(
        runner.train_loop, EpochBasedTrainLoop
    ):
        return 0
    return length_hint(getattr(runner, f'{mode}_dataloader'), 0)


def _outermost(frame: FrameType, runner: Runner) -> FrameType:
    """The function of the runner that the whole run is in."""
    inside = [f for f in _outward(frame) if f.f_locals.get('self') is runner]
    return inside[-1] if inside else frame


def _outward(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and all that called it."""
    while frame is not None:
        yield frame
        frame = frame.f_back
