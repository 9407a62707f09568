# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Kinetics-400 with sound.

Some clips of Kinetics have no sound track: the authors left them out of their
lists; here the model goes without sound for such a clip, and the metric says
how many there were.  Length of sound, views with sound and no SpecAugment:
our choice, the authors' are not known.
"""

_base_ = ['./kinetics400_rgb.py', './common_sound.py']

sound = [_base_.frame_times, dict(_base_.load_audio, missing='drop')]
train_pipeline = [
    *_base_.train_pipeline[:-1],
    *sound,
    _base_.train_spectrogram,
    _base_.pack_with_sound,
]
val_pipeline = [
    *_base_.val_pipeline[:-1],
    *sound,
    _base_.val_spectrogram,
    _base_.pack_with_sound,
]
test_pipeline = [
    *_base_.test_pipeline[:-1],
    *sound,
    _base_.test_spectrogram,
    _base_.pack_with_sound,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_evaluator = dict(
    type='ReadableClips', metric=dict(type='AudioVisualAccMetric')
)
test_evaluator = val_evaluator
