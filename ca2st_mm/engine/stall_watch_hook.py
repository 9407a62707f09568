# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A run that stands still says which rank waits, where and for what."""

import os
import socket
import sys
from datetime import datetime, timedelta
from types import FrameType
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ca2st_mm.registry import HOOKS
from ca2st_mm.utils.stall_watch import StallWatch

from . import stall_stages as stages
from .rank_warning import warn_from_any_rank

OTHERS = (
    ' Other ranks that wait say so in their output: the one at another stage '
    'holds them up.'
)


@HOOKS.register_module()
class StallWatchHook(Hook):
    """Warn when a process of a run has stayed in one stage for long.

    In training, validation and test a thread of each process looks whether
    a stage has ended: waiting for a batch, a step, a validation batch, the
    metrics, a checkpoint.  If none has for ``minutes`` it warns once, with
    the rank, the stage, its length, where to look, and the stack of the
    thread that runs; again when twice the time has passed, and so on.
    Nothing is interrupted.  Ranks other than 0, whose warnings MMEngine
    drops, write to stderr.

    A step costs two looks at the clock and two assignments; the device is
    never waited for.  The thread ends with the run, also when that raises.

    Args:
        minutes: Longest stage without a warning; 1e9 switches it off.

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
                'with 1e9 it never warns'
            )
        self.watch = StallWatch(60 * minutes)
        self.first_iter = 0

    def before_run(self, runner: Runner) -> None:
        """Start to watch."""
        speaker = _Speaker(runner)
        self.watch.enter(stages.starting)
        self.watch.start(_outermost(sys._getframe(1), runner), speaker)

    def before_train(self, runner: Runner) -> None:
        """Remember where a resumed run begins."""
        self.first_iter = runner.iter

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """The batch is here."""
        self.watch.enter(stages.training, runner, batch_idx, self.first_iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """What is saved is complete and goes to the disk."""
        self.watch.enter(stages.saving, runner)

    def after_run(self, runner: Runner) -> None:
        """Stop."""
        self.watch.stop()

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        self.watch.enter(stages.waiting, runner, mode, 0)

    def _before_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        mode: str = 'train',
    ) -> None:
        self.watch.enter(stages.judging, runner, mode, batch_idx)

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
        mode: str = 'train',
    ) -> None:
        self.watch.enter(stages.waiting, runner, mode, batch_idx + 1)

    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        self.watch.enter(stages.between, mode)


class _Speaker:
    """Puts a stall into words, for one rank."""

    def __init__(self, runner: Runner) -> None:
        self.logger = runner.logger
        self.rank = runner.rank
        self.hint = OTHERS if runner.world_size > 1 else ''
        self.process = f'process {os.getpid()} on {socket.gethostname()}'

    def __call__(
        self, stage: stages.Stage, silence: float, stack: str
    ) -> None:
        length = timedelta(seconds=round(silence))
        since = datetime.now() - timedelta(seconds=silence)
        text = (
            f'Rank {self.rank} ({self.process}) has been {stage.what} for '
            f'{length}, since {since:%H:%M:%S}. {stage.look}{self.hint} '
            f'The process stands in\n{stack}'
        )
        warn_from_any_rank(self.logger, text)


def _outermost(frame: FrameType, runner: Runner) -> FrameType:
    """The function of the runner that the whole run is in.

    Args:
        frame: Where to begin, below that function.
        runner: The runner; its ``train``, ``val`` or ``test`` is meant.
    """
    found, outer = frame, frame.f_back
    while outer is not None:
        if outer.f_locals.get('self') is runner:
            found = outer
        outer = outer.f_back
    return found
