# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""HD-EPIC-SOUNDS: a test of models of EPIC-SOUNDS.

The authors train nothing on it: training and validation are those of
EPIC-SOUNDS, and all of HD-EPIC-SOUNDS is the test.
"""

_base_ = './epic_sounds_audio_visual.py'

test_dataloader = dict(
    dataset=dict(data_root='data/hd_epic_sounds', ann_file='test.csv')
)
