# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The total batch of a recipe on the processes at hand."""

import os

from mmengine.config import Config

from .launch import UsageError

# By launcher, the variable that holds the number of processes; MMEngine reads
# the same.
PROCESSES = dict(
    pytorch='WORLD_SIZE', slurm='SLURM_NTASKS', mpi='OMPI_COMM_WORLD_SIZE'
)


def set_target_batch(cfg: Config, clips: int) -> None:
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
    micro_batches, rest = divmod(clips, at_once)
    if clips < 1 or rest or not micro_batches:
        fewer = max(micro_batches, 1)
        near = {fewer * at_once, max(micro_batches + 1, 1) * at_once}
        raise UsageError(
            f'--target-batch {clips} cannot be made of {loader.batch_size} '
            f'clips x {processes} processes; take '
            f'{" or ".join(map(str, sorted(near)))}, or change '
            'train_dataloader.batch_size by --cfg-options'
        )
    # DeepSpeed accumulates by itself.
    if (cfg.get('strategy') or {}).get('type') == 'DeepSpeedStrategy':
        cfg.strategy.gradient_accumulation_steps = micro_batches
    else:
        cfg.optim_wrapper.accumulative_counts = micro_batches
    if loader.sampler.type == 'DefaultSampler':
        loader.sampler.type = 'WholeStepSampler'
        loader.sampler.pop('round_up', None)
    if loader.sampler.type == 'WholeStepSampler':
        loader.sampler.clips_per_step = loader.batch_size * micro_batches
    if not scales_linearly(cfg):
        print(
            'The config has no LinearScalingHook, so the learning rate stays '
            'what it is for its own batch; to have it follow, add '
            "linear_scaling=dict(type='LinearScalingHook', "
            'base_batch_size=N) to default_hooks'
        )


def scales_linearly(cfg: Config) -> bool:
    """Whether a hook of the config scales the rate by the total batch."""
    named = cfg.get('default_hooks') or {}
    hooks = [*named.values(), *(cfg.get('custom_hooks') or [])]
    return any(
        hook and hook.get('type') == 'LinearScalingHook' for hook in hooks
    )
