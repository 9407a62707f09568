# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""HD-EPIC with sound: a test of models of EPIC-KITCHENS-100.

The authors train nothing on it: training and validation are those of
EPIC-KITCHENS-100, and all of HD-EPIC whose verb and noun are among its
classes is the test.
"""

_base_ = './epic_kitchens100_audio_visual.py'

test_dataloader = dict(
    dataset=dict(data_root='data/hd_epic', ann_file='test.csv')
)
test_evaluator = dict(metric=dict(_delete_=True, type='EpicKitchensMetric'))
