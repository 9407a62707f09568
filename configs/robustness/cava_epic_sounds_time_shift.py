# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA on EPIC-SOUNDS, tested with audio rolled by up to 2 s either way."""

_base_ = '../cava/cava_epic_sounds.py'

test_pipeline = [
    *_base_.test_frames,
    _base_.frame_times,
    _base_.load_audio,
    dict(type='RollAudio', seconds=2.0, seed=0),
    dict(_base_.spectrogram, position='views'),
    _base_.pack,
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
