# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The embedded toy world, picture and sound (tools/data/make_toy.py)."""

_base_ = './toy_rgb.py'

test_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SegmentSample', clip_len=16, test_mode=True),
    dict(type='DecodeVideo'),
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='FrameTimes', origin='clip'),
    dict(type='LoadAudio', sample_rate=16000),
    dict(type='LogMelSpectrogram', num_frames=128, num_mels=64),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(
        type='PackAudioVisual',
        meta_keys=('img_shape', 'filename', 'has_audio'),
    ),
]
train_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_evaluator = dict(_delete_=True, type='AudioVisualAccMetric')
test_evaluator = val_evaluator
