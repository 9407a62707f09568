# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Gradients and optimizer sharded by DeepSpeed (ZeRO 2), half precision.

Not run here: DeepSpeed is not among our pins (``pip install deepspeed``).
Name this file in ``_base_`` beside a config.  DeepSpeed accumulates by itself,
so the config moves its number here and tells the hook that scales the rate::

    strategy = dict(gradient_accumulation_steps=4)
    optim_wrapper = dict(
        _delete_=True,
        type='DeepSpeedOptimWrapper',
        constructor='MultiExpertOptimConstructor',
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
        paramwise_cfg=dict(layer_decay=0.75),
    )
    default_hooks = dict(linear_scaling=dict(accumulative_counts=4))

The scale of the loss is that of the authors.
"""

runner_type = 'FlexibleRunner'
strategy = dict(
    type='DeepSpeedStrategy',
    fp16=dict(
        enabled=True,
        auto_cast=True,  # inputs too
        loss_scale=0,  # dynamic
        initial_scale_power=7,
        loss_scale_window=128,
    ),
    zero_optimization=dict(stage=2, overlap_comm=True),
    gradient_accumulation_steps=1,
    exclude_frozen_parameters=True,
)
