# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST on Kinetics-400; the authors report 85.3 % top-1 (5 x 3 views)."""

_base_ = [
    '../_base_/models/cast_vit-base.py',
    '../_base_/datasets/dense.py',
    '../_base_/training.py',
]

model = dict(
    # Half of the batches are mixed.
    data_preprocessor=dict(blending=dict(prob=0.5)),
)

dataset = dict(data_root='data/kinetics400', num_classes=400)
pack = dict(type='PackAudioVisual', streams=('imgs',))
train_pipeline = [*_base_.train_frames, pack]
val_pipeline = [*_base_.val_frames, pack]
# Five clips times three crops.
test_sample = dict(_base_.test_sample, num_clips=5)
test_pipeline = [_base_.open_video, test_sample, *_base_.test_views, pack]
# The authors: 6 clips a GPU x 6 accumulated batches x 16 GPUs.
train_dataloader = dict(
    batch_size=6,
    sampler=dict(type='WholeStepSampler', clips_per_step=6 * 6),
    dataset=dict(dataset, pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(dataset, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))

optim_wrapper = dict(accumulative_counts=6)
max_epochs = 70
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [dict(_base_.warmup_cosine, end=max_epochs)]
default_hooks = dict(linear_scaling=dict(recipe_batch_size=576))
