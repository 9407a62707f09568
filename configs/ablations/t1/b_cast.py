# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1: B-CAST with the recipe of the ablations."""

_base_ = '../../cast/cast_ek100.py'

optim_wrapper = dict(
    accumulative_counts=2, paramwise_cfg=dict(layer_decay=0.8)
)
train_dataloader = dict(sampler=dict(clips_per_step=6 * 2))
default_hooks = dict(linear_scaling=dict(recipe_batch_size=192))
