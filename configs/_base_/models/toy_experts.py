# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Three small experts for the toy data: 32 px, 16 frames, 1.3 s of audio."""

embed_dims = 64
arch = dict(
    embed_dims=embed_dims,
    num_layers=3,
    num_heads=4,
    feedforward_channels=128,
)
clip = dict(
    type='CLIPExpert',
    arch=dict(**arch, patch_size=8),
    img_size=32,
    num_frames=8,
    frame_stride=2,  # one frame per tubelet of VideoMAE
)
videomae = dict(
    type='VideoMAEExpert',
    arch=dict(**arch, patch_size=8, tubelet_size=2),
    img_size=32,
    num_frames=16,
)
ast = dict(
    type='ASTExpert',
    arch=dict(**arch, patch_size=16, patch_stride=10, pretrained_mels=64),
    spec_size=(128, 64),
    num_time_bins=8,  # as many as tubelets
)
# An expert that trains from scratch: no adapters, nothing frozen.
from_scratch = dict(adapter_ratio=None, frozen_parts=())
# An expert inside a linked model: trained on its factor, then frozen.
clip_init = dict(
    type='Pretrained',
    checkpoint='work_dirs/toy/clip_shape/expert.pth',
    prefix='backbone.',
)
videomae_init = dict(
    type='Pretrained',
    checkpoint='work_dirs/toy/videomae_direction/expert.pth',
    prefix='backbone.',
)
ast_init = dict(
    type='Pretrained',
    checkpoint='work_dirs/toy/ast_pitch/expert.pth',
    prefix='backbone.',
)

imgs_preprocessor = dict(
    type='ActionDataPreprocessor',
    format_shape='NCTHW',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
)
audios_preprocessor = dict(
    type='ActionDataPreprocessor',
    format_shape='NCHW',
    mean=[-4.2677393],
    std=[9.1379948],  # AST divides by twice AudioSet's deviation
)
