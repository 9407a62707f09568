# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The authors' learning rate: a straight warm-up from 0, then a cosine."""

import math

from mmengine.optim import BaseOptimWrapper
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from torch.optim import Optimizer

from ca2st_mm.registry import PARAM_SCHEDULERS

from .micro_batches import micro_batches


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
    """Learning rate as a function of the optimizer's steps alone.

    The rate rises in a straight line from 0 in the first step to the base
    rate in the last step of the warm-up, then falls in a half cosine.  It
    moves with each step of the optimizer: runners step a schedule after every
    micro-batch, whatever the strategy, and all of one step share a rate.
    MMEngine's ``LinearLR`` cannot start at 0.

    Args:
        optimizer: Optimizer or wrapper.
        end: Last epoch (iteration, without ``convert_to_iter_based``).
        warmup: Epochs (iterations) of the warm-up, less than ``end``.
        min_ratio: Rate at the end as a part of the base rate of each group.
        begin: First epoch (iteration).
        last_step: Step to go on from; -1 starts.
        by_epoch: Only False; a config gives epochs and
            ``convert_to_iter_based=True``.
        verbose: Whether to print each rate.

    Raises:
        ValueError: If ``warmup`` does not end before ``end``, or the rate
            should change by epoch.
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
                'WarmupCosineLR changes the rate in every step; add '
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
        """Part of the base rate in a step of the optimizer."""
        if step < self.warmup_steps:
            return step / max(self.warmup_steps - 1, 1)
        length = max(self.num_steps - self.warmup_steps, 1)
        progress = min((step - self.warmup_steps) / length, 1.0)
        cosine = (1 + math.cos(math.pi * progress)) / 2
        return self.min_ratio + (1 - self.min_ratio) * cosine

    def _get_value(self) -> list[float]:
        factor = self.factor(self.last_step // self.micro_batches)
        return [base * factor for base in self.base_values]
