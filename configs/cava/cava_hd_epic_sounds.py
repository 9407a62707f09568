# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA on HD-EPIC-SOUNDS: trained on EPIC-SOUNDS, tested on another data set.

The authors train nothing on HD-EPIC-SOUNDS; what they report is unknown to us.
"""

_base_ = './cava_epic_sounds.py'

test_dataloader = dict(
    dataset=dict(data_root='data/hd_epic_sounds', ann_file='test.csv')
)
