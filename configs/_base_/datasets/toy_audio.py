# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The embedded toy world, sound only (tools/data/make_toy.py)."""

_base_ = './toy_rgb.py'

test_pipeline = [
    dict(type='LoadAudio', sample_rate=16000),
    dict(type='LogMelSpectrogram', num_frames=128, num_mels=64),
    dict(type='PackActionInputs', meta_keys=('filename',)),
]
train_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
