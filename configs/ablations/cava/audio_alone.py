# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA: the audio expert alone."""

_base_ = './independent.py'

own = dict(_delete_=True, audio=_base_.model.backbone.experts.audio)
inputs = dict(_delete_=True, audio='audios')
adapters = dict(_delete_=True, audio=dict(type='ResidualAdapter'))
head = dict(in_channels=dict(_delete_=True, audio=768), adapters=adapters)
model = dict(backbone=dict(experts=own, inputs=inputs), cls_head=head)
