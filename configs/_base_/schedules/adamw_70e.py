# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""AdamW for 70 epochs, as the authors train CAST on Kinetics-400.

The rate 1e-3 is for a total batch of 256 and follows the real one (batch per
process x processes; with gradient accumulation divide ``base_batch_size`` by
its steps).  The authors used 16 GPUs, half precision (``--amp``) and a decay
of the rate of 0.75 per layer, which is not applied here.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05
    ),
    # No weight decay for vectors and for the position tables of the links.
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys=dict(
            space_table=dict(decay_mult=0.0),
            time_table=dict(decay_mult=0.0),
        ),
        bypass_duplicate=True,  # links may share their bottlenecks
    ),
)
max_epochs = 70
warmup_epochs = 5
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,  # the authors': 0
        begin=0,
        end=warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=1e-3,  # down to 1e-6, scaled like the rate
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(
    type='EpochBasedTrainLoop',
    max_epochs=max_epochs,
    val_begin=1,
    val_interval=1,
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=True, base_batch_size=256)
