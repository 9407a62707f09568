# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A resumed run draws the random numbers that an unbroken one draws."""

import os
import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner
from mmengine.utils import apply_to

from ca2st_mm.registry import HOOKS

KEY = 'random_states'
State = dict[str, Any]


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Keep the random states of all processes in every checkpoint.

    Of torch, the accelerator, numpy and Python.  Validation draws from them
    without moving them: whether or not a resumed run repeats one
    (:class:`MissedValidationHook`), training goes on alike.  The sampler of a
    resumed run gets the seed of the first one.

    Exact are checkpoints at the end of an epoch (``EpochBasedTrainLoop``,
    workers that end with the epoch and are seeded by :func:`seed_worker`) and
    those in the middle of ``IterBasedTrainLoop`` with a fixed seed and
    worker processes, which replay what they have drawn.
    """

    # Before CheckpointHook (VERY_LOW) asks for the states.
    priority = 'LOW'

    def __init__(self) -> None:
        self.states: list[State] = []
        self.resumed: list[State] | None = None
        self.outside: State = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the states of the checkpoint."""
        held = checkpoint.get(KEY)
        # Loaded to the accelerator, but saved again from here.
        self.resumed = apply_to(held, torch.is_tensor, torch.Tensor.cpu)

    def before_train(self, runner: Runner) -> None:
        """Set the states if the run goes on from a checkpoint."""
        if runner.iter == 0:
            return
        # The file is written again if its validation finds a new best.
        self.states = held = self.resumed or []
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
        set_random_state(held[get_rank()])

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Gather the states if a checkpoint follows this iteration."""
        if any(self._saves_now(runner, hook) for hook in runner.hooks):
            self._gather(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Gather the states; not all processes take part in saving."""
        self._gather(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add what was gathered."""
        checkpoint[KEY] = self.states

    def before_val(self, runner: Runner) -> None:
        """Note the state that training goes on from."""
        self.outside = random_state()

    def after_val(self, runner: Runner) -> None:
        """Go back to it."""
        set_random_state(self.outside)

    def _gather(self, runner: Runner) -> None:
        seed = getattr(runner.train_dataloader.sampler, 'seed', None)
        self.states = all_gather_object(
            dict(random_state(), sampler_seed=seed)
        )

    def _saves_now(self, runner: Runner, hook: Hook) -> bool:
        return (
            isinstance(hook, CheckpointHook)
            and not hook.by_epoch
            and (
                self.every_n_train_iters(runner, hook.interval)
                or self.is_last_train_iter(runner)
            )
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
    same in every epoch; workers that live for one epoch would then repeat
    their augmentations.

    Args:
        worker_id: Number of the worker; torch has counted it in already.
    """
    rank = int(os.environ.get('RANK', 0))
    # Ranks share a seed unless told otherwise; no two may draw the same.
    sequence = np.random.SeedSequence([torch.initial_seed(), rank])
    seed = int(sequence.generate_state(1)[0])
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
