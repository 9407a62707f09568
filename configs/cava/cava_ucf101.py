# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA on UCF-101, clips with audio; what the authors report is unknown to us.

Their recipe is not known; all but the data is our choice: the recipe of
VGG-Sound.  Split 1 of 3: the result of the benchmark is the mean of three, so
train and test with ``train_split2.csv`` and so on as well.  There is no
validation set; the test set also validates.
"""

_base_ = './cava_vggsound.py'

model = dict(cls_head=dict(num_classes=101))

dataset = dict(data_root='data/ucf101', num_classes=101)
# No SpecAugment: our choice.
train_pipeline = [
    step for step in _base_.train_pipeline if step['type'] != 'MaskSpectrogram'
]
train_dataloader = dict(
    dataset=dict(dataset, ann_file='train_split1.csv', pipeline=train_pipeline)
)
test_dataset = dict(dataset, ann_file='test_split1.csv')
val_dataloader = dict(dataset=test_dataset)
test_dataloader = dict(dataset=test_dataset)
