# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST: each link has bottlenecks of its own."""

_base_ = '../../ca2st/ca2st_ek100.py'

model = dict(backbone=dict(share_bottlenecks=False))
