# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How training ends early, and one run at a time in a work folder."""

import errno
import fcntl
import os
import signal
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.dist import (
    all_gather_object,
    barrier,
    get_comm_device,
    is_distributed,
)
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.runner import Runner
from torch import nn

from ca2st_mm.utils.errors import UsageError

from .checkpointing import INTERRUPTED, LAST, is_deepspeed, way_on
from .learning_rate import micro_batches

# Ctrl-C, what schedulers send before they kill, and what Slurm can be asked
# to send ahead of its time limit.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
LOCK = 'running.lock'


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop, and is saved; the message says where.

    ``status`` is that of the process: 128 + the signal, or 1 if the run cannot
    be resumed, so that no script puts it into a queue again.
    """

    def __init__(
        self, signum: int, message: str, resumable: bool = True
    ) -> None:
        super().__init__(message)
        self.signum = signum
        self.status = 128 + signum if resumable else 1


class InterruptionHook(Hook):
    """Ctrl-C, SIGTERM or SIGUSR1 ends training after the step, saved.

    As a context manager it takes the signals; a second Ctrl-C ends at once.
    All processes stop after the same step of the optimizer, or in validation
    after the same batch (after all of it, if a hook other than ``EMAHook``
    validates with other weights), and write ``interrupted.pth``, from which
    ``--resume`` goes on with the same losses (DeepSpeed: its weights alone).

    Raises:
        Interrupted: In training, in all processes alike.
    """

    # After all that belongs to the step, checkpoints among it.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.signum = 0
        self._asked: torch.Tensor | None = None
        self._progress: dict[str, int] = {}

    def __enter__(self) -> 'InterruptionHook':
        self._before = {s: signal.signal(s, self._note) for s in SIGNALS}
        return self

    def __exit__(self, *error: Any) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum
        name = signal.Signals(signum).name
        # Not by print, which a signal may have interrupted.
        os.write(
            2,
            f'{name}: training stops after this step and saves; Ctrl-C '
            'again ends it at once\n'.encode(),
        )

    def _agreed(self) -> int:
        """The signal of any process; all have the same answer."""
        if not is_distributed():
            return self.signum
        # That of the call before: no device has to be waited for.
        asked = int(self._asked) if self._asked is not None else 0
        self._asked = torch.tensor(self.signum, device=get_comm_device())
        torch.distributed.all_reduce(
            self._asked, torch.distributed.ReduceOp.MAX
        )
        return asked

    def after_train_iter(
        self, runner: Runner, batch_idx: int, *args, **kwargs
    ) -> None:
        """Stop if all gradients of a step are in, and the epoch goes on."""
        whole = (runner.iter + 1) % micro_batches(runner.optim_wrapper) == 0
        if whole and not self.end_of_epoch(runner.train_dataloader, batch_idx):
            if signum := self._agreed():
                runner.call_hook('before_interruption')
                self._stop(runner, signum, runner.epoch, runner.iter + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        """Stop before the validation."""
        if signum := self._agreed():
            self._stop(runner, signum, runner.epoch + 1, runner.iter)

    def before_val(self, runner: Runner) -> None:
        """Note what is trained, by one number of each weight."""
        self._trained = _sample(runner.model)

    def before_val_epoch(self, runner: Runner) -> None:
        """See whether to stop within: all at one batch, with its weights."""
        self._averages = [h for h in runner.hooks if isinstance(h, EMAHook)]
        same = torch.equal(self._trained, _sample(runner.model))
        batches = len(runner.val_dataloader)
        all_ = all_gather_object((batches, same or bool(self._averages)))
        self._within = all_[0][1] and len(set(all_)) == 1

    def after_val_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Stop; the validation is repeated when the run resumes."""
        if self._within and (signum := self._agreed()):
            for hook in self._averages:
                hook.after_val_epoch(runner)  # takes them out of the model
            # As from before it, for MissedValidationHook.
            runner.message_hub.update_info('loop_stage', 'train')
            self._stop(runner, signum, runner.epoch, runner.iter)

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Stop, if that was not possible within."""
        if not self._within and (signum := self._agreed()):
            self._stop(runner, signum, runner.epoch, runner.iter)

    def _stop(
        self, runner: Runner, signum: int, epoch: int, iteration: int
    ) -> None:
        folder, options = runner.work_dir, {}
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                folder = hook.out_dir
                options = dict(
                    save_optimizer=hook.save_optimizer,
                    backend_args=hook.backend_args,
                )
        path = f'{folder}/{INTERRUPTED}'
        todo = way_on(runner.cfg, path)
        resumable = not is_deepspeed(runner.cfg)
        if not resumable:
            options['save_optimizer'] = False
        elif not options.get('save_optimizer', True):
            todo += '; its optimizer starts anew (save_optimizer=False)'
        self._progress = dict(epoch=epoch, iter=iteration)
        runner.save_checkpoint(folder, INTERRUPTED, by_epoch=False, **options)
        if runner.rank == 0:
            Path(runner.work_dir, LAST).write_text(path)
        barrier()  # a process that ends early may take the others with it
        name = signal.Signals(signum).name
        raise Interrupted(
            signum,
            f'{name} stopped training after iteration {iteration} (epoch '
            f'{epoch} is done); it is saved in {path}; {todo}',
            resumable,
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Say where training is, which runners work out by themselves."""
        checkpoint['meta'].update(self._progress)


def _sample(model: nn.Module) -> torch.Tensor:
    parts = [p.detach().flatten()[:1].float() for p in model.parameters()]
    return torch.cat(parts)


@contextmanager
def only_run_in(work_dir: str | Path) -> Iterator[None]:
    """Hold a work folder; a second run would write over the first.

    The operating system keeps the lock on ``running.lock`` and frees it when
    the process ends, in whatever way; the text in it says whose it was.

    Args:
        work_dir: The folder; made if it is not there.

    Raises:
        UsageError: If another process holds it.

    Example:
        >>> with only_run_in('work_dirs/cast'):
        ...     os.listdir('work_dirs/cast')
        ['running.lock']
    """
    path = Path(work_dir) / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('a+') as file:
        try:
            # Unlike flock, not handed on to workers, and sent to NFS.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise UsageError(
                    f'{work_dir} is in use by {file.read() or "another run"}; '
                    'end it, name another folder with --work-dir, or delete '
                    f'{path} if its machine is gone'
                ) from None
            warnings.warn(
                f'{path} cannot be locked ({error.strerror}), so that a '
                'second run in the same folder would not be noticed',
                stacklevel=3,  # past contextlib
            )
        file.truncate(0)
        file.write(
            f'process {os.getpid()} on {socket.gethostname()} since '
            f'{time.strftime("%Y-%m-%d %H:%M:%S")}'
        )
        file.flush()
        yield
