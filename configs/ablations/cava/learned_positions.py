# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA: learned positions instead of clock times."""

_base_ = '../../cava/cava_vggsound.py'

link = dict(_base_.model.backbone.links[0], position='learned_space_time')
model = dict(backbone=dict(links=[link], time_encoders=None))
# The authors decay the tables over time.
no_decay = (r'space_table$', r'pos_embed$')
optim_wrapper = dict(paramwise_cfg=dict(not_decayed=no_decay))
