# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA: independent experts with adapters."""

_base_ = '../../cava/cava_vggsound.py'

model = dict(backbone=dict(links=[], time_encoders=None))
