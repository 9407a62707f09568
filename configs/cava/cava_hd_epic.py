# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA on HD-EPIC: trained on EPIC-KITCHENS-100, tested on another data set.

The authors train nothing on HD-EPIC; what they report is unknown to us.  The
test is all of HD-EPIC whose verb and noun EPIC-KITCHENS-100 has.
"""

_base_ = './cava_ek100.py'

test_dataloader = dict(
    dataset=dict(data_root='data/hd_epic', ann_file='test.csv')
)
test_evaluator = dict(metric=dict(_delete_=True, type='EpicKitchensMetric'))
