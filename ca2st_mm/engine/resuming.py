# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A resumed run continues as if it had not been interrupted."""

import os
import os.path as osp
import random
import signal
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner, loops
from mmengine.utils import apply_to

from ca2st_mm.registry import HOOKS, LOOPS

KEY = 'random_states'
State = dict[str, Any]


@LOOPS.register_module()
class EpochBasedTrainLoop(loops.EpochBasedTrainLoop):
    """MMEngine's, which begins an interrupted epoch where it ended.

    Batches that the epoch has trained on are read again and left out, so
    that the workers draw what they had drawn; MMEngine's own loop trains on
    them twice.

    Example:
        >>> train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=50)
    """

    def run_epoch(self) -> None:
        """Iterate one epoch, or what is left of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        if not 0 < done <= len(self.dataloader):  # of another data loader
            done = 0
        if done:
            self.runner.logger.info(
                f'Epoch {self._epoch + 1} resumes after batch {done}; those '
                'before are read again'
            )
        for index, data_batch in enumerate(self.dataloader):
            if index >= done:
                self.run_iter(index, data_batch)
            elif index == done - 1:
                self.runner.call_hook('after_rereading')
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Keep the random states of all processes in every checkpoint.

    Of torch, the accelerator, numpy and Python, and the seed of the sampler.
    Validation does not move them, so that a resumed run may repeat one.
    Exact with :class:`EpochBasedTrainLoop` and :func:`seed_worker`, or with
    ``IterBasedTrainLoop`` and a fixed seed.

    Example:
        >>> default_hooks = dict(random_state=dict(type='RandomStateHook'))
    """

    # Before CheckpointHook (VERY_LOW) asks for the states.
    priority = 'LOW'

    def __init__(self) -> None:
        self.states: list[State] = []
        self._interrupted: State = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the states of the checkpoint."""
        # Loaded to the accelerator, but saved again from here: the file is
        # written anew if its validation finds a new best.
        self.states = apply_to(
            checkpoint.get(KEY) or [], torch.is_tensor, torch.Tensor.cpu
        )

    def before_train(self, runner: Runner) -> None:
        """Set the states if the run resumes from a checkpoint."""
        if runner.iter == 0:
            return
        held = self.states
        sampler = runner.train_dataloader.sampler
        if held and hasattr(sampler, 'seed'):
            # Not the runner's seed, which may differ from rank to rank.
            sampler.seed = held[0]['sampler_seed']
        if len(held) != runner.world_size:
            runner.logger.warning(
                f'The checkpoint holds the random states of {len(held)} '
                f'processes and {runner.world_size} run now, so this run '
                'draws other random numbers than an unbroken one'
            )
            return
        mine = held[get_rank()]
        set_random_state(mine)
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._interrupted = mine if mine.get('epoch_start') else {}

    def before_train_epoch(self, runner: Runner) -> None:
        """Begin an interrupted epoch as it began, with the same workers."""
        if self._interrupted:
            set_random_state(self._interrupted['epoch_start'])
        self._epoch_start = random_state()

    def after_rereading(self, runner: Runner) -> None:
        """Go on from where the epoch was interrupted."""
        if self._interrupted:
            set_random_state(self._interrupted)

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Gather the states if a checkpoint follows this iteration."""
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and not hook.by_epoch:
                if self.every_n_train_iters(
                    runner, hook.interval
                ) or self.is_last_train_iter(runner):
                    self.gather(runner, self._epoch_start)

    def after_train_epoch(self, runner: Runner) -> None:
        """Gather the states; not all processes take part in saving."""
        self._interrupted = {}
        self.gather(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add what was gathered."""
        checkpoint[KEY] = self.states

    def before_val(self, runner: Runner) -> None:
        """Note the state that training continues from."""
        self.outside = random_state()

    def after_val(self, runner: Runner) -> None:
        """Go back to it."""
        set_random_state(self.outside)

    def before_interruption(self, runner: Runner) -> None:
        """Gather the states within an epoch."""
        self.gather(runner, self._epoch_start)

    def gather(self, runner: Runner, epoch_start: State | None = None) -> None:
        """Have the states of all processes, which call it together.

        Args:
            runner: The runner.
            epoch_start: State that the running epoch began with.
        """
        seed = getattr(runner.train_dataloader.sampler, 'seed', None)
        self.states = all_gather_object(
            dict(random_state(), sampler_seed=seed, epoch_start=epoch_start)
        )


def random_state() -> State:
    """State of all generators of this process, as a checkpoint holds it."""
    _, keys, *rest = np.random.get_state()
    version, numbers, gauss = random.getstate()
    state = dict(
        torch=torch.get_rng_state(),
        numpy=[torch.from_numpy(keys.astype(np.int64)), *rest],
        python=[version, list(numbers), gauss],
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: State) -> None:
    """Set all generators; the opposite of :func:`random_state`."""
    torch.set_rng_state(state['torch'])
    keys, *rest = state['numpy']
    keys = keys.numpy().astype(np.uint32)
    np.random.set_state(('MT19937', keys, *rest))
    version, numbers, gauss = state['python']
    random.setstate((version, tuple(numbers), gauss))
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'])


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seed a worker from the random state of its process and its rank.

    For ``worker_init_fn`` of a data loader.  MMEngine's own seeds workers the
    same in every epoch, so that augmentations would repeat.  The worker also
    leaves the process group that Ctrl-C and torchrun send signals to.

    Example:
        >>> train_dataloader = dict(
        ...     worker_init_fn=dict(type='seed_worker'),
        ...     persistent_workers=False)
    """
    os.setpgid(0, 0)
    for signum in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_IGN)
    rank = int(os.environ.get('RANK', 0))
    # Ranks share a seed unless told otherwise; no two may draw the same.
    sequence = np.random.SeedSequence([torch.initial_seed(), rank])
    seed = int(sequence.generate_state(1)[0])
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def _forget_other_folders(hook: CheckpointHook, info: dict) -> None:
    """Have the hook know the files of its own folder, and no others.

    The folder may have been moved, or the run has gone on in a new one, and
    the hook would delete the best file that the checkpoint names there.
    """

    def here(path: str) -> str:
        return hook.file_backend.join_path(hook.out_dir, osp.basename(path))

    if info.get('last_ckpt'):
        hook.last_ckpt = here(info['last_ckpt'])
    for key in [key for key in info if key.startswith('best_ckpt')]:
        path = here(info.pop(key))
        best = path if hook.file_backend.exists(path) else None
        if best:
            info[key] = best
        if key == 'best_ckpt':
            hook.best_ckpt_path = best
        else:  # one of several scores
            paths = getattr(hook, 'best_ckpt_path_dict', {})
            paths[key.removeprefix('best_ckpt_')] = best


@HOOKS.register_module()
class MissedValidationHook(Hook):
    """Validate before training continues, if the checkpoint lacks the result.

    MMEngine writes the checkpoint of an epoch (or iteration), then validates,
    and writes it once more only if the score is the best so far.  A
    validation that brought no new best is repeated, with the same result.

    Example:
        >>> default_hooks = dict(
        ...     missed_validation=dict(type='MissedValidationHook'))
    """

    # After all that prepare for training: states set, folders known.
    priority = 'LOWEST'

    def __init__(self) -> None:
        # A strategy that shows hooks no checkpoint (DeepSpeed) leaves it so.
        self.unseen = dict(epoch=True, iter=True)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note whether the file is from before the validation of its unit.

        The message hub has the epoch (iteration) that ran last, ``meta`` the
        number of those that are done; both are equal if the next had begun.
        A file that is written for a new best score says 'val'.
        """
        hub = checkpoint.get('message_hub', {}).get('runtime_info', {})
        meta = checkpoint.get('meta', {})
        training = hub.get('loop_stage') != 'val'
        self.unseen = {
            unit: training and hub.get(unit) != meta.get(unit)
            for unit in self.unseen
        }

    def before_train(self, runner: Runner) -> None:
        """Validate if it is due, and say so if nothing is left to train."""
        if runner.iter == 0:
            return
        info = runner.message_hub.runtime_info
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                _forget_other_folders(hook, info)
        unit, done, total = 'iter', runner.iter, runner.max_iters
        if isinstance(runner.train_loop, loops.EpochBasedTrainLoop):
            unit, done, total = 'epoch', runner.epoch, runner.max_epochs
        if self.unseen[unit] and runner.val_loop is not None:
            # Intervals may change while training (`dynamic_intervals`).
            runner.train_loop._decide_current_val_interval()
            due = done % runner.val_interval == 0 or done == total
            if due and done >= runner.val_begin:
                runner.logger.info(
                    f'The checkpoint of {unit} {done} does not hold the '
                    'result of its validation, which is run now'
                )
                runner.val_loop.run()
        if done >= total:
            best = [
                f'{path} ({info[key.replace("ckpt", "score", 1)]:.4f})'
                for key, path in info.items()
                if key.startswith('best_ckpt')
            ]
            runner.logger.info(
                f'Nothing is left to train: {unit} {done} of {total} is done. '
                f'Best checkpoint: {", ".join(best) or "unknown"}'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Count right while validating; ``FlexibleRunner`` is one ahead."""
        if runner.message_hub.get_info('loop_stage') == 'val':
            checkpoint['meta'].update(epoch=runner.epoch, iter=runner.iter)
