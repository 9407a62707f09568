# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST as the authors' later code has it: another head, the same names.

The adapters before the classifier add their input, and the experts are
averaged instead of summed.  The released Something-Something and Kinetics
weights belong to the plain head of ``cast_k400.py``.  Stochastic depth is
theirs as well.
"""

_base_ = '../cast/cast_k400.py'

link = dict(
    _base_.model.backbone.links[0],
    drop_path_unit=dict(spatial='token', temporal='sample'),
)
model = dict(
    backbone=dict(
        experts=dict(spatial=dict(drop_path_unit='token')), links=[link]
    ),
    cls_head=dict(
        adapters=dict(
            spatial=dict(type='ResidualAdapter'),
            temporal=dict(type='ResidualAdapter'),
        ),
        reduction='mean',
    ),
)
