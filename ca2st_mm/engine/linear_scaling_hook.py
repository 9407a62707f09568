# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The learning rate follows the batch that is really trained with."""

from mmengine.hooks import Hook
from mmengine.optim import BaseOptimWrapper
from mmengine.runner import Runner

from ca2st_mm.registry import HOOKS

from .micro_batches import micro_batches

DONE = 'batch_scale'


@HOOKS.register_module()
class LinearScalingHook(Hook):
    """Scale the rate by the total batch and print both at the start.

    The total batch is clips of a process x processes x micro-batches of a
    step.  MMEngine's ``auto_scale_lr`` leaves out the last factor, so this
    hook takes its place.

    Args:
        base_batch_size: Total batch that the rate in the config is for.
        recipe_batch_size: Total batch of the recipe; None if it is unknown.
            One that differs by more than ``tolerance`` is warned about.
        tolerance: Largest ratio of the two batches without a warning.
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
        """Scale the rates, those of a checkpoint if the runner has it.

        Raises:
            ValueError: If ``auto_scale_lr`` is on as well.
        """
        if not isinstance(runner.optim_wrapper, BaseOptimWrapper):
            return  # a runner that only tests has not built one
        if (runner.cfg.get('auto_scale_lr') or {}).get('enable'):
            raise ValueError(
                'the learning rate would be scaled twice; switch '
                'auto_scale_lr.enable off, LinearScalingHook does its work'
            )
        clips = runner.train_dataloader.batch_sampler.batch_size
        steps = micro_batches(runner.optim_wrapper)
        total = clips * runner.world_size * steps
        self._ratio = total / self.base_batch_size
        lr = self._scale(runner)
        runner.logger.info(
            f'Total batch {total}: {clips} clips x {runner.world_size} '
            f'processes x {steps} micro-batches; the learning rate follows '
            f'it, {lr:.3g} at its highest'
        )
        self._compare(runner, total)
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
        """Scale what groups and schedulers hold; the highest base rate.

        Groups remember what was done, in checkpoints too: from another total
        batch they and the schedulers come with its rates.
        """
        groups = runner.optim_wrapper.param_groups
        done = groups[0].get(DONE)
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
            group[DONE] = self._ratio
        highest = max(group.get('initial_lr', group['lr']) for group in groups)
        if done and factor != 1:
            runner.logger.warning(
                'The checkpoint has rates for a total batch of '
                f'{done * self.base_batch_size:g}; they follow the new one, '
                f'{highest:.3g} at the highest'
            )
        return highest

    def _compare(self, runner: Runner, total: int) -> None:
        recipe = self.recipe_batch_size
        if recipe is None:
            runner.logger.info('Total batch of the recipe: unknown')
            return
        runner.logger.info(f'Total batch of the recipe: {recipe}')
        if max(total / recipe, recipe / total) > self.tolerance:
            runner.logger.warning(
                f'The total batch {total} is far from the {recipe} of the '
                'recipe, so its results may not be reached; '
                f'tools/train.py --target-batch {recipe} accumulates more or '
                'fewer micro-batches'
            )
