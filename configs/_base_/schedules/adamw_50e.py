# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""AdamW for 50 epochs: ``adamw_70e.py``, shorter."""

_base_ = './adamw_70e.py'

max_epochs = 50
warmup_epochs = 5
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        warmup=warmup_epochs,
        end=max_epochs,
        min_ratio=1e-3,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
