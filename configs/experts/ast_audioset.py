# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""AST as its authors trained it on AudioSet, with their head: 527 sounds.

For predictions without training, of audio files as well as of videos.  It
reads the middle 10.24 seconds; ``--window 10`` reads all of a longer file.
"""

_base_ = './ast_vggsound.py'

about = (
    'Several sounds may be there at once: each share is the probability that '
    'this sound is there, and they do not add up to 100 %.'
)
model = dict(
    backbone=dict(adapter_ratio=None, frozen_parts=(), drop_path_rate=0.0),
    cls_head=dict(
        _delete_=True,
        type='MultiLabelHead',
        num_classes=527,
        in_channels=768,
        average_clips='prob',
    ),
)

test_pipeline = [
    dict(type='LoadAudio', missing_audio='raise', sample_rate=16000),
    *_base_.test_pipeline[1:],
]
test_dataloader = dict(
    dataset=dict(
        data_root='data/audioset', num_classes=527, pipeline=test_pipeline
    )
)
# Our data sets have one class a clip, AudioSet has several.
train_dataloader = val_dataloader = None
train_cfg = val_cfg = optim_wrapper = param_scheduler = val_evaluator = None
