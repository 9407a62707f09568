# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA on EPIC-SOUNDS, tested with white noise at 0 to 20 dB."""

_base_ = '../cava/cava_epic_sounds.py'

corruption = dict(type='AddAudioNoise', snr=(0.0, 20.0), seed=0)
test_pipeline = [
    one
    for step in _base_.test_pipeline
    for one in ([step, corruption] if step['type'] == 'LoadAudio' else [step])
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
