# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The learning rate: its schedule, its batch size, and what a resume keeps.

The effective batch size is what one step of the optimizer sees: clips of a
process x processes x micro-batches.
"""

import math
import os
import warnings
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import BaseOptimWrapper
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.optim import Optimizer

from ca2st_mm.registry import HOOKS, PARAM_SCHEDULERS

from .launch import UsageError

# In each parameter group: the factor that LinearScalingHook has applied.
SCALE = 'batch_scale'
# By launcher, the variable that holds the number of processes; MMEngine reads
# the same.
PROCESSES = dict(
    pytorch='WORLD_SIZE', slurm='SLURM_NTASKS', mpi='OMPI_COMM_WORLD_SIZE'
)
# What a scheduler counts; all else of its state is the config's.
PROGRESS = (
    *('last_step', '_global_step', '_last_value', 'verbose'),
    *('best', 'num_bad_epochs', 'cooldown_counter'),
)


def micro_batches(optimizer: Optimizer | BaseOptimWrapper) -> int:
    """Micro-batches of a step, 1 where nothing accumulates.

    MMEngine's wrappers count them.  DeepSpeed accumulates by itself: there
    the engine knows, which its wrapper holds when schedulers and hooks ask.

    Args:
        optimizer: Optimizer or wrapper, of any strategy.
    """
    # Both private in MMEngine, which has no other way to ask.
    engine = getattr(optimizer, '_model', None)
    if hasattr(engine, 'gradient_accumulation_steps'):
        return engine.gradient_accumulation_steps()
    return getattr(optimizer, '_accumulative_counts', 1)


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
    """Linear warm-up from 0, then half a cosine, step by step.

    The learning rate rises from 0 in the first step of the optimizer to the
    base value in the last step of the warm-up, then falls.  All micro-batches
    of a step share one value, whatever the strategy (CAST, section 4.1;
    MMEngine's ``LinearLR`` cannot start at 0).

    Args:
        optimizer: Optimizer or wrapper.
        end: Last epoch (iteration, without ``convert_to_iter_based``).
        warmup: Epochs (iterations) of the warm-up, less than ``end``.
        min_ratio: Last value as a part of the base value of each group.
        begin: First epoch (iteration).
        last_step: Step to start after; -1 starts anew.
        by_epoch: Only False; a config gives epochs and
            ``convert_to_iter_based=True``.
        verbose: Whether to print each value.

    Raises:
        ValueError: If ``warmup`` does not end before ``end``, or the
            learning rate should change by epoch.

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
        last_step: int = -1,
        by_epoch: bool = False,
        verbose: bool = False,
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
            optimizer, 'lr', begin, end, last_step, by_epoch, verbose
        )

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args,
        end: float = INF,
        warmup: float = 0,
        begin: float = 0,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs,
    ) -> 'WarmupCosineLR':
        """Build from lengths in epochs, as the runner asks for it."""
        return cls(
            *args,
            begin=int(begin * epoch_length),
            end=int(end * epoch_length),
            warmup=int(warmup * epoch_length),
            by_epoch=False,
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
    """Scale the learning rate by the effective batch size; print both.

    MMEngine's ``auto_scale_lr`` leaves out the micro-batches of a step, so
    this hook takes its place.

    Args:
        base_batch_size: Effective batch size that the learning rate in the
            config is for.
        recipe_batch_size: Effective batch size of the recipe; None if it is
            unknown.  One that differs by more than ``tolerance`` is warned
            about.
        tolerance: Largest ratio of the two without a warning.
    """

    def __init__(
        self,
        base_batch_size: int = 256,
        recipe_batch_size: int | None = None,
        tolerance: float = 2.0,
    ) -> None:
        self.base_batch_size = base_batch_size
        self.recipe_batch_size = recipe_batch_size
        self.tolerance = tolerance

    def before_run(self, runner: Runner) -> None:
        """Scale, in a checkpoint's optimizer if the runner has loaded it.

        Raises:
            UsageError: If ``auto_scale_lr`` is on as well.
        """
        if not isinstance(runner.optim_wrapper, BaseOptimWrapper):
            return  # a runner that only tests has not built one
        if (runner.cfg.get('auto_scale_lr') or {}).get('enable'):
            raise UsageError(
                'the learning rate would be scaled twice; switch '
                'auto_scale_lr.enable off, LinearScalingHook does its work'
            )
        clips = runner.train_dataloader.batch_sampler.batch_size
        steps = micro_batches(runner.optim_wrapper)
        total = clips * runner.world_size * steps
        self._ratio = total / self.base_batch_size
        lr = self._scale(runner)
        runner.logger.info(
            f'Effective batch size {total}: {clips} clips x '
            f'{runner.world_size} processes x {steps} micro-batches '
            f'(recipe: {self.recipe_batch_size or "unknown"}); the learning '
            f'rate follows it, {lr:.3g} at its highest'
        )
        recipe = self.recipe_batch_size or total
        if max(total / recipe, recipe / total) > self.tolerance:
            runner.logger.warning(
                f'The effective batch size {total} is far from the {recipe} '
                'of the recipe, so its results may not be reached; '
                f'tools/train.py --target-batch {recipe} accumulates more or '
                'fewer micro-batches'
            )
        if len(runner.train_dataloader) % steps:
            runner.logger.warning(
                f'An epoch of {len(runner.train_dataloader)} micro-batches '
                f'ends within a step of {steps}, and a checkpoint there lacks '
                'gradients; use the sampler WholeStepSampler with '
                f'clips_per_step={clips * steps}'
            )

    def before_train(self, runner: Runner) -> None:
        """Scale what ``Runner`` has loaded since :meth:`before_run`."""
        self._scale(runner)

    def _scale(self, runner: Runner) -> float:
        """Scale what groups and schedulers hold; the highest base value.

        Groups remember what was done, in checkpoints too: resumed with
        another batch size, they and the schedulers come with its values.
        """
        groups = runner.optim_wrapper.param_groups
        done = groups[0].get(SCALE)
        factor = self._ratio / (done or 1)
        if factor != 1:
            for group in groups:
                group['lr'] *= factor
                if 'initial_lr' in group:
                    group['initial_lr'] *= factor
            for scheduler in runner.param_schedulers or []:
                if scheduler.param_name == 'lr':
                    scheduler.base_values = [
                        value * factor for value in scheduler.base_values
                    ]
        for group in groups:
            group[SCALE] = self._ratio
        highest = max(group.get('initial_lr', group['lr']) for group in groups)
        if done and factor != 1:
            runner.logger.warning(
                'The checkpoint has learning rates for an effective batch '
                f'size of {done * self.base_batch_size:g}; they follow the '
                f'new one, {highest:.3g} at the highest'
            )
        return highest


@HOOKS.register_module()
class ScheduleFromConfigHook(Hook):
    """A resumed run follows the schedule in its config, and says so.

    MMEngine restores schedulers and parameter groups whole, so that a longer
    schedule, another learning rate or another weight decay in the config
    would change nothing: after the end of the old schedule the learning rate
    would stay at its last value.  Where config and checkpoint agree, nothing
    is touched.  Where they differ, options take the config's values and the
    schedulers are run from the start up to the resumed iteration.

    A schedule that follows a metric (``ReduceOnPlateauLR``) cannot be run
    again, and DeepSpeed does not let hooks see what it restores; there, the
    checkpoint's schedule stays.
    """

    # After LinearScalingHook (NORMAL), before a validation that is made up.
    priority = 'BELOW_NORMAL'

    def __init__(self) -> None:
        self.groups: list[dict[str, Any]] = []
        self.schedules: list[dict[str, Any]] = []

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note what the config has built, before it is overwritten.

        Raises:
            UsageError: If the parameters are grouped in another way.
        """
        groups = getattr(runner.optim_wrapper, 'param_groups', None)
        if not isinstance(groups, list):  # a test, or several optimizers
            return
        optimizer = checkpoint.get('optimizer') or {}
        stored = len(optimizer.get('param_groups', ()))
        built = len(runner.optim_wrapper.optimizer.param_groups)
        if runner._resume and stored and stored != built:
            raise UsageError(
                f'the checkpoint has {stored} parameter groups and the config '
                f'makes {built}, so the optimizer cannot be resumed; take '
                'the optim_wrapper of the checkpoint, or start anew from it '
                'with load_from'
            )
        self.groups = [
            {k: v for k, v in group.items() if k != 'params'}
            for group in groups
        ]
        self.schedules = [s.state_dict() for s in _schedulers(runner)]
        self.stored = len(checkpoint.get('param_schedulers') or [])

    def before_train(self, runner: Runner) -> None:
        """Compare, and follow the config where it differs."""
        if runner.iter == 0 or not self.groups:
            return
        schedulers = _schedulers(runner)
        groups = runner.optim_wrapper.param_groups
        if any(isinstance(hook, LinearScalingHook) for hook in runner.hooks):
            done = self.groups[0].get(SCALE, 1)  # by Runner, before loading
            self._apply_batch_scale(groups[0][SCALE] / done)
        scheduled = {s.param_name for s in schedulers}
        changes = self._restore_options(groups, scheduled)
        differing = [
            f'{type(scheduler).__name__}: {", ".join(found)}'
            for scheduler, wanted in zip(
                schedulers, self.schedules, strict=True
            )
            if (found := list(_differences(wanted, scheduler.state_dict())))
        ]
        if self.stored != len(schedulers):
            differing.append(f'{self.stored} -> {len(schedulers)} schedulers')
        if differing and any(hasattr(s, 'need_val_args') for s in schedulers):
            runner.logger.warning(
                'The schedule of the config is not that of the checkpoint '
                f'({"; ".join(differing)}); one that follows a metric cannot '
                "be run again, so the checkpoint's goes on"
            )
        elif differing:
            self._run_again(runner, schedulers, groups)
            changes += differing
        if changes:
            highest = max(group['lr'] for group in groups)
            runner.logger.warning(
                'The config is not that of the checkpoint and is followed '
                f'({"; ".join(changes)}); the learning rate is now '
                f'{highest:.3g} at the highest'
            )

    def _apply_batch_scale(self, scale: float) -> None:
        """Scale what was noted before LinearScalingHook did its work."""
        for group in self.groups:
            for key in ('lr', 'initial_lr'):
                if key in group:
                    group[key] *= scale
        for state in self.schedules:
            if state['param_name'] == 'lr':
                base = state['base_values']
                state['base_values'] = [value * scale for value in base]

    def _restore_options(
        self, groups: list[dict], scheduled: set[str]
    ) -> list[str]:
        """Options of groups that no scheduler changes; what differed."""
        free = {*scheduled, *(f'initial_{n}' for n in scheduled), SCALE}
        found = {}
        for group, wanted in zip(groups, self.groups, strict=True):
            for key, value in wanted.items():
                if key not in free and not _same(value, group.get(key)):
                    found.setdefault(key, f'{key} {group.get(key)} -> {value}')
                    group[key] = value
        return list(found.values())

    def _run_again(
        self,
        runner: Runner,
        schedulers: list[_ParamScheduler],
        groups: list[dict],
    ) -> None:
        """Run the config's schedulers up to the resumed iteration."""
        for group, wanted in zip(groups, self.groups, strict=True):
            for scheduler in schedulers:
                for key in (
                    scheduler.param_name,
                    f'initial_{scheduler.param_name}',
                ):
                    group[key] = wanted.get(key, group[key])
        for scheduler, state in zip(schedulers, self.schedules, strict=True):
            optimizer = scheduler.optimizer
            vars(scheduler).clear()
            vars(scheduler).update(state, optimizer=optimizer)
        length, iterations = len(runner.train_dataloader), runner.iter
        epochs = isinstance(runner.train_loop, EpochBasedTrainLoop)
        if epochs:  # those so far may have had another length
            iterations = runner.epoch * length
        with warnings.catch_warnings():
            # No step of the optimizer comes before these.
            warnings.simplefilter('ignore')
            for iteration in range(1, iterations + 1):
                for scheduler in schedulers:
                    ends_epoch = epochs and iteration % length == 0
                    if ends_epoch or not scheduler.by_epoch:
                        scheduler.step()


def _schedulers(runner: Runner) -> list[_ParamScheduler]:
    found = runner.param_schedulers or []
    return [s for s in found if isinstance(s, _ParamScheduler)]


def _differences(wanted: dict, found: dict) -> Iterator[str]:
    """Where the state of a scheduler is not the config's."""
    for key in {**wanted, **found}:
        now, then = wanted.get(key), found.get(key)
        if key not in PROGRESS and not _same(now, then):
            yield f'{key} {_short(then)} -> {_short(now)}'


def _short(value: Any) -> Any:
    """The largest number stands for those of all groups."""
    return f'{max(value):.3g}' if isinstance(value, list) and value else value


def _same(a: Any, b: Any) -> bool:
    """Equal, numbers up to the rounding of another order of factors."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=1e-6)
    return bool(a == b)


def set_effective_batch_size(cfg: Config, clips: int) -> None:
    """Have every step of the optimizer see so many clips.

    The clips that a process takes at once stay as the config has them; the
    micro-batches of a step change, and with them the step that
    ``WholeStepSampler`` keeps whole; it takes the place of
    ``DefaultSampler``.

    Args:
        cfg: Config of a training run with its ``launcher``; changed in place.
        clips: Clips of a process x processes x micro-batches.

    Raises:
        UsageError: If no number of micro-batches makes that total.
    """
    loader = cfg.train_dataloader
    processes = int(os.environ.get(PROCESSES.get(cfg.launcher, ''), 1))
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
    # DeepSpeed accumulates by itself.
    if (cfg.get('strategy') or {}).get('type') == 'DeepSpeedStrategy':
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
