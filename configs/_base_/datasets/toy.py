# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The toy data set (tools/data/make_toy.py): audio-visual by default.

Training reads clips as testing does; they vary enough by themselves.
"""

about = 'A toy model: it knows nothing but the 12 classes of the toy world.'

frames = [
    dict(type='OpenVideo'),
    dict(type='SegmentSample', clip_len=16, test_mode=True),
    dict(type='DecodeVideo'),
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
]
spectrogram = [
    dict(type='LoadAudio', sample_rate=16000),
    dict(type='LogMelSpectrogram', num_frames=128, num_mels=64),
]
frame_format = dict(type='FormatShape', input_format='NCTHW')
test_pipeline = [
    *frames,
    dict(type='FrameTimes', origin='clip'),
    *spectrogram,
    frame_format,
    dict(type='PackAudioVisual'),
]
# For CAST, which reads frames alone.
frames_pipeline = [
    *frames,
    frame_format,
    dict(type='PackAudioVisual', streams=('imgs',)),
]
# For an expert in a recognizer of MMAction2, which takes a plain tensor.
expert_frames_pipeline = [
    *frames,
    frame_format,
    dict(type='PackActionInputs', meta_keys=('img_shape', 'filename')),
]
expert_audio_pipeline = [
    *spectrogram,
    dict(type='PackActionInputs', meta_keys=('filename',)),
]

data_root = 'data/toy'
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
val_evaluator = dict(type='ClipAccMetric')
test_evaluator = val_evaluator
