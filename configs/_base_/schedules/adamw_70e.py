# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""AdamW for 70 epochs, as the authors train CAST on Kinetics-400.

The rate 1e-3 is for a total batch of 256; the LinearScalingHook that every
recipe has among its ``default_hooks`` lets it follow the real one, clips of a
process x processes x micro-batches, and prints both.  The authors used half
precision (``--amp``), no clipping of gradients and no averaged weights (for
these add ``dict(type='EMAHook')`` to ``custom_hooks``).
"""

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='MultiExpertOptimConstructor',
    optimizer=dict(
        type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05
    ),
    paramwise_cfg=dict(
        layer_decay=0.75,
        # Besides vectors and biases, all position tables; the authors' code
        # decays some tables of its audio links, which only CAVA and CA2ST
        # with position='learned_space_time' have.
        not_decayed=(r'_table$', r'pos_embed$'),
    ),
)
max_epochs = 70
warmup_epochs = 5
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        warmup=warmup_epochs,
        end=max_epochs,
        min_ratio=1e-3,  # down to 1e-6, scaled like the rate
        by_epoch=True,
        convert_to_iter_based=True,  # a new rate in every step
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
