# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The toy's audio expert learns pitch."""

_base_ = [
    '../../_base_/models/toy_experts.py',
    '../../_base_/datasets/toy_audio.py',
    '../../_base_/schedules/toy_adamw.py',
    '../../_base_/toy_expert_runtime.py',
]

model = dict(
    type='RecognizerAudio',
    backbone=dict(_base_.ast, **_base_.from_scratch),
    cls_head=dict(
        type='TimeSformerHead',
        num_classes=3,
        in_channels=_base_.embed_dims,
        topk=(1,),
        average_clips='prob',
    ),
    data_preprocessor=_base_.audios_preprocessor,
)

# Labels of one factor instead of the twelve classes.
factor = dict(classes='classes_pitch.txt')
train_dataloader = dict(dataset=dict(factor, ann_file='train_pitch.csv'))
val_dataloader = dict(dataset=dict(factor, ann_file='val_pitch.csv'))
test_dataloader = dict(dataset=dict(factor, ann_file='test_pitch.csv'))
work_dir = 'work_dirs/toy/ast_pitch'
