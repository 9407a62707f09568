# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Epochs that end with a step of the optimizer."""

from collections.abc import Sized

from mmengine.dataset import DefaultSampler

from ca2st_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class WholeStepSampler(DefaultSampler):
    """A ``DefaultSampler`` that leaves out what fills no whole step.

    With gradient accumulation an epoch could otherwise end between two steps,
    and a checkpoint written there lacks the gradients gathered so far.  The
    authors skip the leftover clips as well; another epoch, shuffled anew,
    skips other ones.

    >>> len(WholeStepSampler(range(10), clips_per_step=4))
    8

    Args:
        dataset: The data set.
        clips_per_step: Clips of one process in one step of the optimizer:
            batch size x micro-batches.
        shuffle: Whether to shuffle anew in every epoch.
        seed: Seed of the shuffling, the same in all processes.

    Raises:
        ValueError: If the data set does not fill a single step.
    """

    def __init__(
        self,
        dataset: Sized,
        clips_per_step: int,
        shuffle: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(dataset, shuffle, seed, round_up=False)
        step = clips_per_step * self.world_size
        steps = len(dataset) // step
        if steps == 0:
            raise ValueError(
                f'the {len(dataset)} clips of the data set do not fill one '
                f'step of {clips_per_step} clips x {self.world_size} '
                'processes; accumulate less or train on more'
            )
        self.num_samples = steps * clips_per_step
        self.total_size = self.num_samples * self.world_size
