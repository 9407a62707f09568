# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA on VGG-Sound, tested with noise whose power falls as 1/f."""

_base_ = '../cava/cava_vggsound.py'

test_pipeline = [
    *_base_.test_frames,
    _base_.frame_times,
    _base_.load_audio,
    dict(type='AddPinkNoise', snr=(0.0, 20.0), seed=0),
    dict(_base_.spectrogram, position='views'),
    _base_.pack,
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
