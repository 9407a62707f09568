# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Pictures of ``common_dense.py`` with 10.24 s of sound."""

_base_ = ['./common_dense.py', './common_sound.py']

train_pipeline = [
    *_base_.train_pipeline[:-1],
    _base_.frame_times,
    _base_.load_audio,
    _base_.train_spectrogram,
    _base_.pack_with_sound,
]
val_pipeline = [
    *_base_.val_pipeline[:-1],
    _base_.frame_times,
    _base_.load_audio,
    _base_.val_spectrogram,
    _base_.pack_with_sound,
]
test_pipeline = [
    *_base_.test_pipeline[:-1],
    _base_.frame_times,
    _base_.load_audio,
    _base_.test_spectrogram,
    _base_.pack_with_sound,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
