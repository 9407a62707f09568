# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Names of the stages of a run, and where to look when one does not end."""

from operator import length_hint
from typing import NamedTuple

from mmengine.runner import EpochBasedTrainLoop, Runner

MODES = dict(train='training', val='validation', test='test')
DATA = (
    'Look at the disk that holds the clips, for a broken or very long file, '
    'and at the data workers; py-spy dump shows where each of them stands.'
)
WORK = 'Look at the stack below and at how busy the device is.'
LONG_CLIP = (
    'A long clip with many views takes long, so this need not be a fault; '
    'look at how busy the device is.'
)
METRICS = (
    'Look at the stack below; the answers of all ranks are gathered first.'
)
EPOCH_END = (
    'Look at the data workers, which end with an epoch, and at the hooks in '
    'the stack below.'
)


class Stage(NamedTuple):
    """What a run is doing, and where to look if that does not end.

    Args:
        what: Completes "the run has been ...".
        look: A sentence.
    """

    what: str
    look: str


def starting() -> Stage:
    """Everything before the first epoch."""
    return Stage(
        'starting the run (loading weights)',
        'Look at the disk of the checkpoints and at the stack below.',
    )


def waiting(runner: Runner, mode: str, done: int) -> Stage:
    """Between two batches; also what follows the last of them.

    Args:
        runner: The runner.
        mode: ``'train'``, ``'val'`` or ``'test'``.
        done: Batches of this epoch that came before.
    """
    total = _batches(runner, mode)
    if total and done == total:
        if mode == 'train':
            return Stage(f'at the end{_of_epoch(runner)}', EPOCH_END)
        return Stage(f'computing the metrics of the {MODES[mode]}', METRICS)
    if mode == 'train':
        number = f'batch {done + 1}{_of_epoch(runner)}'
    else:
        number = f'{MODES[mode]} batch {_count(done + 1, total)}'
    return Stage(f'waiting for {number}', DATA)


def training(runner: Runner, batch_idx: int, first: int) -> Stage:
    """In a training step or the hooks that follow it.

    Args:
        runner: The runner.
        batch_idx: Number of the batch, from 0.
        first: Iteration at which this run began.
    """
    if runner.iter == first:
        return Stage(
            'in the first training step (compiling, building kernels)', WORK
        )
    return Stage(
        f'in training step {batch_idx + 1}{_of_epoch(runner)} or a hook '
        'after it',
        WORK,
    )


def judging(runner: Runner, mode: str, batch_idx: int) -> Stage:
    """In a batch of validation or test.

    Args:
        runner: The runner.
        mode: ``'val'`` or ``'test'``.
        batch_idx: Number of the batch, from 0.
    """
    number = _count(batch_idx + 1, _batches(runner, mode))
    return Stage(f'in {MODES[mode]} batch {number}', LONG_CLIP)


def between(mode: str) -> Stage:
    """After the hooks that end an epoch, until a loop says what follows."""
    return Stage(f'between the end of {MODES[mode]} and the next stage', WORK)


def saving(runner: Runner) -> Stage:
    """While a checkpoint is written."""
    return Stage(
        'saving a checkpoint',
        f'Look at the disk of {runner.work_dir}: it may be full or slow.',
    )


def _of_epoch(runner: Runner) -> str:
    return f' of epoch {runner.epoch + 1}' if _by_epoch(runner) else ''


def _by_epoch(runner: Runner) -> bool:
    return isinstance(runner.train_loop, EpochBasedTrainLoop)


def _batches(runner: Runner, mode: str) -> int:
    """Batches of an epoch; 0 if unknown, or if the loop has no epochs."""
    if mode == 'train' and not _by_epoch(runner):
        return 0
    return length_hint(getattr(runner, f'{mode}_dataloader'), 0)


def _count(number: int, total: int) -> str:
    return f'{number} of {total}' if total else f'{number}'
