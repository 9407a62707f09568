# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1a: independent experts with adapters."""

_base_ = './b_cast.py'

model = dict(backbone=dict(links=[]))
