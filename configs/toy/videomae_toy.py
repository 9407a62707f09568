# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""VideoMAE alone on all classes of the toy data set: no audio."""

_base_ = './experts/videomae_direction.py'

model = dict(
    backbone=dict(init_cfg=_base_.videomae_init),
    cls_head=dict(num_classes=12),
)
all_factors = dict(classes='classes.txt')
train_dataloader = dict(dataset=dict(all_factors, ann_file='train.csv'))
val_dataloader = dict(dataset=dict(all_factors, ann_file='val.csv'))
test_dataloader = dict(dataset=dict(all_factors, ann_file='test.csv'))
work_dir = 'work_dirs/toy/videomae_toy'
