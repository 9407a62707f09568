# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The audio expert alone, an ordinary backbone of ``RecognizerAudio``.

Adapters are trained; ``adapter_ratio=None, frozen_parts=()`` trains the
expert itself (the authors' run of AST on VGG-Sound: 58.4 % top-1).  The
recipe is that of CAVA (our choice).
"""

_base_ = [
    '../_base_/datasets/vggsound_audio.py',
    '../_base_/schedules/adamw_50e.py',
    '../_base_/default_runtime.py',
]

fetch = {
    'data/vggsound/train.csv': (
        'tools/data/vggsound/prepare.py writes it from the official lists'
    ),
    'data/vggsound/test.csv': (
        'tools/data/vggsound/prepare.py writes it from the official lists'
    ),
}
model = dict(
    type='RecognizerAudio',
    backbone=dict(
        type='ASTExpert',
        spec_size=(1024, 128),
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='zoo://ast_base_audioset-10-10',
        ),
    ),
    # TSNAudioHead wants a map to pool; an expert pools its own tokens.
    cls_head=dict(
        type='TimeSformerHead',
        num_classes=309,
        in_channels=768,
        label_smooth_eps=0.1,
        average_clips='prob',
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        format_shape='NCHW',
        mean=[-4.2677393],
        std=[9.1379948],  # AST divides by twice AudioSet's deviation
    ),
)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
default_hooks = dict(
    checkpoint=dict(save_best='acc/top1'),
    linear_scaling=dict(type='LinearScalingHook', base_batch_size=256),
)
