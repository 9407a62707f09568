# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The audio expert alone, an ordinary backbone of ``RecognizerAudio``.

Adapters are trained; ``adapter_ratio=None, frozen_parts=()`` trains the
expert itself (the authors' run of AST on VGG-Sound: 58.4 % top-1).  The
recipe is that of CAVA (our choice).
"""

_base_ = [
    '../_base_/datasets/dense.py',
    '../_base_/training.py',
]

model = dict(
    type='RecognizerAudio',
    backbone=dict(
        type='ASTExpert',
        spec_size=(1024, 128),
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='zoo://ast_base_audioset-10-10',
        ),
    ),
    # TSNAudioHead wants a map to pool; an expert pools its own tokens.
    cls_head=dict(
        type='TimeSformerHead',
        num_classes=309,
        in_channels=768,
        label_smooth_eps=0.1,
        average_clips='prob',
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        format_shape='NCHW',
        mean=[-4.2677393],
        std=[9.1379948],  # AST divides by twice AudioSet's deviation
    ),
)

pack = dict(
    type='PackActionInputs', meta_keys=('filename', 'clip_id', 'has_audio')
)
train_pipeline = [
    _base_.load_audio,
    dict(_base_.spectrogram, position='random'),
    dict(type='MaskSpectrogram', time=70, freq=20, num_masks=2),
    pack,
]
# One window from the middle: clips are hardly longer than it.
test_pipeline = [
    _base_.load_audio,
    dict(_base_.spectrogram, position=0.5),
    pack,
]
dataset = dict(data_root='data/vggsound', num_classes=309)
test_dataset = dict(dataset, ann_file='test.csv', pipeline=test_pipeline)
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=test_dataset)
test_dataloader = dict(batch_size=8, dataset=test_dataset)

optim_wrapper = dict(optimizer=dict(lr=5e-4))
