# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Kinetics-400 with 10.24 s of sound; frames as in ``kinetics400_rgb.py``.

Sound comes from the video, or from the manifest's column ``audio`` where it
has one.  Some clips of Kinetics have no sound track: the authors left them
out of their lists; here the model goes without sound for such a clip, and
the metric says how many there were.
"""

_base_ = './kinetics400_rgb.py'

pack = dict(
    type='PackActionInputs',
    collect_keys=(
        'imgs',
        'audios',
        'imgs_times',
        'audios_times',
        'audios_present',
    ),
    meta_keys=('img_shape', 'filename', 'has_audio'),
)
train_pipeline = [
    dict(type='OpenVideo'),
    dict(type='DenseSample', clip_len=16, interval=4),
    dict(type='DecodeVideo'),
    _base_.rand_augment,
    dict(
        type='RandomResizedCrop',
        area_range=(0.08, 1.0),
        aspect_ratio_range=(3 / 4, 4 / 3),
    ),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='FrameTimes'),
    dict(type='LoadAudio', missing='drop'),
    dict(type='LogMelSpectrogram', num_frames=1024, position='random'),
    pack,
]
val_pipeline = [
    dict(type='OpenVideo'),
    # The authors validate on a random window; ours is the middle one, so that
    # the best checkpoint does not depend on luck.
    dict(
        type='SampleFrames',
        clip_len=16,
        frame_interval=4,
        num_clips=1,
        test_mode=True,
    ),
    dict(type='DecodeVideo'),
    dict(type='Resize', scale=(-1, 224)),
    dict(type='CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='FrameTimes'),
    dict(type='LoadAudio', missing='drop'),
    dict(type='LogMelSpectrogram', num_frames=1024, position=0.5),
    pack,
]
test_pipeline = [
    dict(type='OpenVideo'),
    dict(
        type='DenseSample',
        clip_len=16,
        interval=4,
        num_clips=5,
        test_mode=True,
    ),
    dict(type='DecodeVideo'),
    dict(type='Resize', scale=(-1, 224)),
    dict(type='ThreeCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='FrameTimes'),
    dict(type='LoadAudio', missing='drop'),
    dict(type='LogMelSpectrogram', num_frames=1024, position='views'),
    pack,
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_evaluator = dict(type='AudioVisualAccMetric')
test_evaluator = val_evaluator
