# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA on VGG-Sound; the authors report 68.2 % top-1 (2 x 3 views).

There is a training and a test set; the latter also validates.
"""

_base_ = [
    '../_base_/models/cava_vit-base.py',
    '../_base_/datasets/dense.py',
    '../_base_/training.py',
]

model = dict(
    cls_head=dict(num_classes=309),
)

dataset = dict(data_root='data/vggsound', num_classes=309)
# The authors: 6 clips a GPU x 2 accumulated batches, number of GPUs unknown.
train_dataloader = dict(
    batch_size=6,
    sampler=dict(type='WholeStepSampler', clips_per_step=6 * 2),
    dataset=dict(dataset, pipeline=_base_.train_pipeline),
)
test_dataset = dict(dataset, ann_file='test.csv')
val_dataloader = dict(dataset=dict(test_dataset, pipeline=_base_.val_pipeline))
test_dataloader = dict(
    dataset=dict(test_dataset, pipeline=_base_.test_pipeline)
)

optim_wrapper = dict(
    accumulative_counts=2,
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(layer_decay=0.8),
)
param_scheduler = [dict(_base_.warmup_cosine, min_ratio=2e-3)]  # to 1e-6
