# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The embedded toy world, pictures only (tools/data/make_toy.py)."""

data_root = 'data/toy'

# Training reads the same way: the clips vary enough by themselves.
test_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SegmentSample', clip_len=16, test_mode=True),
    dict(type='DecodeVideo'),
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs', meta_keys=('img_shape', 'filename')),
]

dataset = dict(
    type='AudioVisualDataset',
    data_root=data_root,
    data_prefix=dict(video='videos', audio='videos'),
    classes='classes.txt',
    pipeline=test_pipeline,
)
loader = dict(batch_size=32, num_workers=2, persistent_workers=True)
train_dataloader = dict(
    **loader,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(dataset, ann_file='train.csv'),
)
val_dataloader = dict(
    **loader,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(dataset, ann_file='val.csv', test_mode=True),
)
test_dataloader = dict(
    **loader,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(dataset, ann_file='test.csv', test_mode=True),
)
val_evaluator = dict(type='AccMetric', metric_list=('top_k_accuracy',))
test_evaluator = val_evaluator
