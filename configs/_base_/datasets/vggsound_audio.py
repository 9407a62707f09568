# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""VGG-Sound, sound only; the manifests of ``vggsound_audio_visual.py``."""

_base_ = ['./common_loaders.py', './common_sound.py']

dataset = dict(data_root='data/vggsound', num_classes=309)
pack = dict(
    type='PackActionInputs', meta_keys=('filename', 'clip_id', 'has_audio')
)
train_pipeline = [
    _base_.load_audio,
    _base_.train_spectrogram,
    _base_.mask_spectrogram,
    pack,
]
# One window from the middle: clips are hardly longer than it.
test_pipeline = [_base_.load_audio, _base_.val_spectrogram, pack]
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(dataset, ann_file='test.csv', pipeline=test_pipeline)
)
test_dataloader = dict(
    batch_size=8,
    dataset=dict(dataset, ann_file='test.csv', pipeline=test_pipeline),
)
val_evaluator = dict(
    type='ReadableClips', metric=dict(type='AudioVisualAccMetric')
)
test_evaluator = val_evaluator
