# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Gradients and optimizer sharded by DeepSpeed (ZeRO 2), half precision.

Not run here on GPUs or in half precision; on two processes of a CPU in float32
the losses are those of the plain runner.  DeepSpeed is not among our pins:
0.16.9 works with this MMEngine, 0.19.8 does not
(``pip install deepspeed==0.16.9``).

Checkpoints hold the weights alone, as those of other runs do, and can be
tested and fine-tuned from.  ``--resume`` is refused: DeepSpeed runs the code
that its own checkpoints name, and MMEngine would leave out an epoch.

Name this file in ``_base_`` next to a config.  DeepSpeed accumulates gradients
itself, so the number of accumulated batches is set here; the schedule and
LinearScalingHook read it from DeepSpeed's engine::

    strategy = dict(gradient_accumulation_steps=4)
    optim_wrapper = dict(
        _delete_=True,
        type='DeepSpeedOptimWrapper',
        constructor='MultiExpertOptimConstructor',
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
        paramwise_cfg=dict(layer_decay=0.75),
    )

The loss scale is that of the authors.
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
)
