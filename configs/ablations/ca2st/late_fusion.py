# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST: late fusion, no links."""

_base_ = '../../ca2st/ca2st_ek100.py'

model = dict(backbone=dict(links=[], time_encoders=None))
