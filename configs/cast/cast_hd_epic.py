# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST on HD-EPIC: trained on EPIC-KITCHENS-100, tested across data sets.

The authors train nothing on HD-EPIC; what they report is unknown to us.
"""

_base_ = './cast_ek100.py'

test_dataloader = dict(
    dataset=dict(data_root='data/hd_epic', ann_file='test.csv')
)
test_evaluator = dict(metric=dict(_delete_=True, type='EpicKitchensMetric'))
fetch = {
    'data/hd_epic/test.csv': (
        'list the segments of HD-EPIC whose classes EPIC-KITCHENS-100 has, '
        'with the columns file,start,end,verb,noun'
    ),
}
