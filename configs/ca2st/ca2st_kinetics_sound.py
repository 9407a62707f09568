# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST on KineticsSound; 93.3 % top-1 is listed for the authors.

Their recipe is not known; all but the data is our choice: the recipe of
VGG-Sound.  There is a training and a test set; the latter also validates.
"""

_base_ = './ca2st_vggsound.py'

model = dict(cls_head=dict(num_classes=31))

dataset = dict(data_root='data/kinetics_sound', num_classes=31)
# No SpecAugment: our choice.
train_pipeline = [
    step for step in _base_.train_pipeline if step['type'] != 'MaskSpectrogram'
]
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
