# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""VGG-Sound, sound only: 10.24 s as a log-mel spectrogram.

The manifests are those of ``vggsound_audio_visual.py``.
"""

data_root = 'data/vggsound'

pack = dict(type='PackActionInputs', meta_keys=('filename', 'has_audio'))
train_pipeline = [
    dict(type='LoadAudio', missing='raise'),
    dict(type='LogMelSpectrogram', num_frames=1024, position='random'),
    dict(type='MaskSpectrogram', time=70, freq=20, num_masks=2),
    pack,
]
val_pipeline = [
    dict(type='LoadAudio', missing='raise'),
    dict(type='LogMelSpectrogram', num_frames=1024, position=0.5),
    pack,
]
test_pipeline = [
    dict(type='LoadAudio', missing='raise'),
    dict(type='LogMelSpectrogram', num_frames=1024, position=0.5),
    pack,
]

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='AudioVisualDataset',
        data_root=data_root,
        ann_file='train.csv',
        num_classes=309,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='AudioVisualDataset',
        data_root=data_root,
        ann_file='test.csv',
        num_classes=309,
        pipeline=val_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='AudioVisualDataset',
        data_root=data_root,
        ann_file='test.csv',
        num_classes=309,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(type='AudioVisualAccMetric')
test_evaluator = val_evaluator
