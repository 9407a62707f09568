# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The learning rate: its schedule, its batch size, and what a resume keeps.

The effective batch size is what one step of the optimizer sees: clips of a
process x processes x micro-batches.
"""

import math
import os
import warnings
from itertools import zip_longest
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import BaseOptimWrapper
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.optim import Optimizer

from ca2st_mm.registry import HOOKS, PARAM_SCHEDULERS
from ca2st_mm.utils.errors import UsageError

from .checkpointing import is_deepspeed

# In each parameter group: the factor that LinearScalingHook has applied.
SCALE = 'batch_scale'
# By launcher: its program, and the variables that it sets for the rank and
# the number of processes; MMEngine reads the same.
LAUNCHERS = dict(
    pytorch=('torchrun', 'RANK', 'WORLD_SIZE'),
    slurm=('srun', 'SLURM_PROCID', 'SLURM_NTASKS'),
    mpi=('mpirun', 'OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_SIZE'),
)


def micro_batches(optimizer: Optimizer | BaseOptimWrapper) -> int:
    """Micro-batches of a step, 1 where nothing accumulates."""
    # Both private in MMEngine, which has no other way to ask; DeepSpeed
    # accumulates by itself.
    engine = getattr(optimizer, '_model', None)
    if hasattr(engine, 'gradient_accumulation_steps'):
        return engine.gradient_accumulation_steps()
    return getattr(optimizer, '_accumulative_counts', 1)


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
    """Linear warm-up from 0, then half a cosine (CAST, section 4.1).

    The learning rate is 0 in the first step of the optimizer and at its base
    value in the last step of the warm-up.  All micro-batches of a step share
    one value.  MMEngine's ``LinearLR`` cannot start at 0.

    Args:
        optimizer: Optimizer or wrapper.
        end: Last epoch (iteration, without ``convert_to_iter_based``).
        warmup: Epochs (iterations) of the warm-up, less than ``end``.
        min_ratio: Last value as a part of the base value of each group.
        begin: First epoch (iteration).
        by_epoch: Only False; a config gives epochs and
            ``convert_to_iter_based=True``.
        kwargs: ``last_step`` and ``verbose``, as of MMEngine's schedulers.

    Raises:
        ValueError: If ``warmup`` does not end before ``end``, or
            ``by_epoch`` is set.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> schedule = WarmupCosineLR(optimizer, end=8, warmup=3)
        >>> [round(schedule.factor(step), 2) for step in range(8)]
        [0.0, 0.5, 1.0, 1.0, 0.9, 0.65, 0.35, 0.1]
    """

    def __init__(
        self,
        optimizer: Optimizer | BaseOptimWrapper,
        end: int,
        warmup: int = 0,
        min_ratio: float = 0.0,
        begin: int = 0,
        by_epoch: bool = False,
        **kwargs: Any,
    ) -> None:
        if by_epoch:
            raise ValueError(
                'WarmupCosineLR changes the learning rate in every step; add '
                'convert_to_iter_based=True'
            )
        if not 0 <= warmup < end - begin:
            raise ValueError(
                f'the warm-up has to end before the training, got {warmup} '
                f'of {end - begin} steps'
            )
        self.micro_batches = micro_batches(optimizer)
        self.warmup_steps = warmup // self.micro_batches
        self.num_steps = (end - begin) // self.micro_batches
        self.min_ratio = min_ratio
        super().__init__(
            optimizer, 'lr', begin=begin, end=end, by_epoch=False, **kwargs
        )

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args: Any,
        end: float = INF,
        warmup: float = 0,
        begin: float = 0,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs: Any,
    ) -> 'WarmupCosineLR':
        """Build from lengths in epochs, as the runner asks for it."""
        return cls(
            *args,
            begin=int(begin * epoch_length),
            end=int(end * epoch_length),
            warmup=int(warmup * epoch_length),
            **kwargs,
        )

    def factor(self, step: int) -> float:
        """Part of the base value in a step of the optimizer."""
        if step < self.warmup_steps:
            return step / max(self.warmup_steps - 1, 1)
        length = max(self.num_steps - self.warmup_steps, 1)
        progress = min((step - self.warmup_steps) / length, 1.0)
        cosine = (1 + math.cos(math.pi * progress)) / 2
        return self.min_ratio + (1 - self.min_ratio) * cosine

    def _get_value(self) -> list[float]:
        factor = self.factor(self.last_step // self.micro_batches)
        return [base * factor for base in self.base_values]


@HOOKS.register_module()
class LinearScalingHook(Hook):
    """Scale the learning rate by the effective batch size; log both.

    Takes the place of MMEngine's ``auto_scale_lr``, which leaves out the
    micro-batches of a step.  Its factor is in the parameter groups, and so in
    checkpoints: resumed with another batch size, learning rates are scaled by
    the ratio of the two.

    Args:
        base_batch_size: Effective batch size that the learning rate in the
            config is for.
        recipe_batch_size: Effective batch size of the recipe, if it is known;
            more than a factor of 2 away is warned about.

    Raises:
        UsageError: In training, if ``auto_scale_lr`` is on as well.

    Example:
        >>> default_hooks = dict(linear_scaling=dict(
        ...     type='LinearScalingHook', base_batch_size=256))
    """

    def __init__(
        self, base_batch_size: int = 256, recipe_batch_size: int | None = None
    ) -> None:
        self.base_batch_size = base_batch_size
        self.recipe_batch_size = recipe_batch_size

    def before_train(self, runner: Runner) -> None:
        """Scale what groups and schedulers hold."""
        if (runner.cfg.get('auto_scale_lr') or {}).get('enable'):
            raise UsageError(
                'the learning rate would be scaled twice; switch '
                'auto_scale_lr.enable off, LinearScalingHook does its work'
            )
        clips = runner.train_dataloader.batch_sampler.batch_size
        steps = micro_batches(runner.optim_wrapper)
        total = clips * runner.world_size * steps
        groups = runner.optim_wrapper.param_groups
        done = groups[0].get(SCALE)
        factor = total / self.base_batch_size / (done or 1)
        for group in groups:
            group['lr'] *= factor
            if 'initial_lr' in group:
                group['initial_lr'] *= factor
            group[SCALE] = total / self.base_batch_size
        for scheduler in _schedulers(runner):
            if scheduler.param_name == 'lr':
                scheduler.base_values = [
                    value * factor for value in scheduler.base_values
                ]
        highest = max(group.get('initial_lr', group['lr']) for group in groups)
        runner.logger.info(
            f'Effective batch size {total}: {clips} clips x '
            f'{runner.world_size} processes x {steps} micro-batches '
            f'(recipe: {self.recipe_batch_size or "unknown"}); the learning '
            f'rate follows it, {highest:.3g} at its highest'
        )
        if done and factor != 1:
            runner.logger.warning(
                'The checkpoint has learning rates for an effective batch '
                f'size of {done * self.base_batch_size:g}; they follow the '
                f'new one, {highest:.3g} at the highest'
            )
        recipe = self.recipe_batch_size or total
        if not recipe / 2 <= total <= recipe * 2:
            runner.logger.warning(
                f'The effective batch size {total} is far from the {recipe} '
                'of the recipe, so its results may not be reached; '
                f'ca2st train --target-batch {recipe} accumulates more or '
                'fewer micro-batches'
            )
        if len(runner.train_dataloader) % steps:
            runner.logger.warning(
                f'An epoch of {len(runner.train_dataloader)} micro-batches '
                f'ends within a step of {steps}, and a checkpoint there lacks '
                'gradients; use the sampler WholeStepSampler with '
                f'clips_per_step={clips * steps}'
            )


@HOOKS.register_module()
class ScheduleFromConfigHook(Hook):
    """A resumed run follows the schedule in its config, and says so.

    MMEngine restores schedulers and options of the optimizer whole.  Here a
    checkpoint also keeps what they were built with.  Where that is not what
    the config says now, its schedulers are run up to the resumed iteration
    and take the checkpoint's place, as do the options.  A schedule that
    follows a metric (``ReduceOnPlateauLR``) cannot be run again: the
    checkpoint's values stay.

    Example:
        >>> default_hooks = dict(
        ...     schedule=dict(type='ScheduleFromConfigHook'))
    """

    # Before LinearScalingHook (NORMAL) changes what was built.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.settings: list[dict[str, Any]] = []

    def before_train(self, runner: Runner) -> None:
        """Note the settings of a run that has loaded nothing."""
        self.settings = self.settings or _settings(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep them."""
        checkpoint['schedule'] = self.settings

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare, and correct the checkpoint before it is restored.

        Raises:
            UsageError: If the parameters are grouped in another way.
        """
        self.settings = _settings(runner)
        stored = checkpoint.get('optimizer')
        if not runner._resume or not stored or not self.settings:
            return
        held = list(stored['param_groups'])
        made = len(runner.optim_wrapper.optimizer.param_groups)
        if len(held) != made:
            raise UsageError(
                f'the checkpoint has {len(held)} parameter groups and the '
                f'config makes {made}, so the optimizer cannot be resumed; '
                'take the optim_wrapper of the checkpoint, or start anew from '
                'it with load_from'
            )
        changes: dict[str, str] = {}
        before = checkpoint.get('schedule', [])
        for new, old in zip_longest(self.settings, before, fillvalue={}):
            for key in {**new, **old}:
                if new.get(key) != old.get(key):
                    change = f'{key} {old.get(key)} -> {new.get(key)}'
                    changes.setdefault(key, change)
        said = '; '.join(sorted(changes.values()))
        if not before:
            said = 'it is of an earlier version and does not say its own'
        schedulers = _schedulers(runner)
        if not changes:
            return
        if any(hasattr(s, 'need_val_args') for s in schedulers):
            runner.logger.warning(
                f'The config is not that of the checkpoint ({said}), but a '
                'schedule that follows a metric cannot be run again, so the '
                'values of the checkpoint stay'
            )
            return
        _advance(schedulers, runner, checkpoint['meta'])
        checkpoint['param_schedulers'] = [s.state_dict() for s in schedulers]
        # Of MMEngine, to log the base learning rate; FSDP leaves it out.
        if 'base_param_settings' in stored:
            held.append(stored['base_param_settings'])
        groups = runner.optim_wrapper.param_groups
        for old, new in zip(held, groups, strict=False):
            old.pop(SCALE, None)  # LinearScalingHook comes later
            old.update({k: v for k, v in new.items() if k != 'params'})
        runner.logger.warning(
            f'The config is not that of the checkpoint and is followed: {said}'
        )


def _schedulers(runner: Runner) -> list[_ParamScheduler]:
    found = runner.param_schedulers or []
    return [s for s in found if isinstance(s, _ParamScheduler)]


def _settings(runner: Runner) -> list[dict[str, Any]]:
    """Parameter groups and schedulers as they were built.

    Nothing for a test and for several optimizers.
    """
    groups = getattr(runner.optim_wrapper, 'param_groups', None)
    if not isinstance(groups, list):
        return []
    schedulers = [dict(s.state_dict()) for s in _schedulers(runner)]
    return [
        *({k: v for k, v in g.items() if k != 'params'} for g in groups),
        *schedulers,
    ]


def _advance(
    schedulers: list[_ParamScheduler], runner: Runner, meta: dict[str, Any]
) -> None:
    """Run new schedulers up to where a checkpoint was written."""
    length, iterations = len(runner.train_dataloader), meta['iter']
    epochs = isinstance(runner.train_loop, EpochBasedTrainLoop)
    if epochs:  # those so far may have had another length
        iterations = meta['epoch'] * length
    with warnings.catch_warnings():
        # No step of the optimizer comes before these.
        warnings.simplefilter('ignore')
        for iteration in range(1, iterations + 1):
            for scheduler in schedulers:
                ends_epoch = epochs and iteration % length == 0
                if ends_epoch or not scheduler.by_epoch:
                    scheduler.step()


def set_effective_batch_size(cfg: Config, clips: int) -> None:
    """Have every step of the optimizer see so many clips.

    The clips that a process takes at once stay as the config has them; the
    micro-batches of a step change, and ``WholeStepSampler`` keeps it whole.

    Args:
        cfg: Config of a training run with its ``launcher``; changed in place.
        clips: Clips of a process x processes x micro-batches.

    Raises:
        UsageError: If no number of micro-batches makes that total.
    """
    loader = cfg.train_dataloader
    *_, variable = LAUNCHERS.get(cfg.launcher, ('',))
    processes = int(os.environ.get(variable, 1))
    at_once = loader.batch_size * processes
    steps, rest = divmod(clips, at_once)
    if clips < 1 or rest or not steps:
        near = {max(steps, 1) * at_once, max(steps + 1, 1) * at_once}
        raise UsageError(
            f'--target-batch {clips} cannot be made of {loader.batch_size} '
            f'clips x {processes} processes; take '
            f'{" or ".join(map(str, sorted(near)))}, or change '
            'train_dataloader.batch_size by --cfg-options'
        )
    if is_deepspeed(cfg):  # which accumulates by itself
        cfg.strategy.gradient_accumulation_steps = steps
    else:
        cfg.optim_wrapper.accumulative_counts = steps
    if loader.sampler.type == 'DefaultSampler':
        loader.sampler.type = 'WholeStepSampler'
        loader.sampler.pop('round_up', None)
    if loader.sampler.type == 'WholeStepSampler':
        loader.sampler.clips_per_step = loader.batch_size * steps
    if not scales_linearly(cfg):
        print(
            'The config has no LinearScalingHook, so the learning rate stays '
            'what it is for its own batch size; to have it follow, add '
            "linear_scaling=dict(type='LinearScalingHook', "
            'base_batch_size=N) to default_hooks'
        )


def scales_linearly(cfg: Config) -> bool:
    """Whether the config scales the learning rate by the batch size."""
    named = cfg.get('default_hooks') or {}
    hooks = [*named.values(), *(cfg.get('custom_hooks') or [])]
    return any(
        hook and hook.get('type') == 'LinearScalingHook' for hook in hooks
    )
