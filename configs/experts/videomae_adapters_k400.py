# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The temporal expert alone, an ordinary backbone of ``Recognizer3D``.

Adapters and final norm are trained; ``adapter_ratio=None, frozen_parts=()``
trains the expert itself.  The recipe is that of CAST (our choice).
"""

_base_ = './clip_k400.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='VideoMAEExpert',
        num_frames=16,
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='zoo://videomae_vit-base-p16_k400-ft',
        ),
    ),
)
