# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A small CA2ST for a first run on your own clips: no weights, any CPU.

Three experts of 4 layers, 1.5 M parameters in all, learn from scratch at
96 px with 5 s of audio.  It shows that data, training and prediction go
through; accuracy needs the pretrained experts of ``configs/ca2st``.
"""

_base_ = ['../_base_/models/ca2st_vit-base.py', '../_base_/training.py']

work_dir = 'work_dirs/toy/ca2st_small'
about = 'A small model, trained from scratch: take it for a first look.'

embed_dims = 96
img_size = 96
clip_len = 16
arch = dict(
    embed_dims=embed_dims,
    num_layers=4,
    num_heads=3,
    feedforward_channels=2 * embed_dims,
)
from_scratch = dict(
    adapter_ratio=None,
    frozen_parts=(),
    drop_path_rate=0.0,
    init_cfg=None,
)
b_ca = dict(type='BottleneckCrossAttention', num_heads=3)
with_audio = dict(b_ca, position='timestamp', start_layer=2)
model = dict(
    backbone=dict(
        experts=dict(
            spatial=dict(from_scratch, arch=arch, img_size=img_size),
            temporal=dict(from_scratch, arch=arch, img_size=img_size),
            audio=dict(
                from_scratch,
                arch=dict(arch, patch_stride=16),
                spec_size=(512, 64),
            ),
        ),
        links=[
            dict(
                b_ca, between=('spatial', 'temporal'), axes=('time', 'space')
            ),
            dict(
                with_audio, between=('spatial', 'audio'), axes=('all', 'all')
            ),
            dict(
                with_audio, between=('temporal', 'audio'), axes=('all', 'all')
            ),
        ],
        time_encoders=dict(
            imgs=dict(embed_dims=embed_dims // 2),
            audios=dict(embed_dims=embed_dims // 2),
        ),
    ),
    # A handful of clips is learnt as it is.
    data_preprocessor=dict(blending=None),
    cls_head=dict(
        in_channels=dict(
            spatial=embed_dims, temporal=embed_dims, audio=embed_dims
        ),
    ),
)

frame_times = dict(type='FrameTimes', origin='clip')
load_audio = dict(type='LoadAudio', missing_audio='drop', sample_rate=16000)
spectrogram = dict(type='LogMelSpectrogram', num_frames=512, num_mels=64)
train_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SegmentSample', clip_len=clip_len),
    dict(type='DecodeVideo'),
    dict(type='RandomResizedCrop', area_range=(0.5, 1.0)),
    dict(type='Resize', scale=(img_size, img_size), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='FormatShape', input_format='NCTHW'),
    frame_times,
    load_audio,
    dict(spectrogram, position='random'),
    dict(type='PackAudioVisual'),
]
test_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SegmentSample', clip_len=clip_len, test_mode=True),
    dict(type='DecodeVideo'),
    dict(type='Resize', scale=(-1, img_size)),
    dict(type='CenterCrop', crop_size=img_size),
    dict(type='FormatShape', input_format='NCTHW'),
    frame_times,
    load_audio,
    dict(spectrogram, position=0.5),
    dict(type='PackAudioVisual'),
]
# The toy's clips, where from_folders.py names no others.
dataset = dict(
    data_root='data/toy',
    data_prefix=dict(video='videos', audio='videos'),
    classes='classes.txt',
    quarantine=work_dir + '/bad_samples.csv',
)
train_dataloader = dict(
    num_workers=2, dataset=dict(dataset, pipeline=train_pipeline)
)
val_dataloader = dict(
    num_workers=2, dataset=dict(dataset, pipeline=test_pipeline)
)
test_dataloader = dict(
    num_workers=2, dataset=dict(dataset, pipeline=test_pipeline)
)

optim_wrapper = dict(
    _delete_=True,
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)
max_epochs = 20
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
param_scheduler = [dict(_base_.warmup_cosine, end=max_epochs)]
default_hooks = dict(
    # A handful of clips cannot tell the best epoch; the last one counts.
    checkpoint=dict(save_best=None),
    linear_scaling=dict(base_batch_size=8),
)
