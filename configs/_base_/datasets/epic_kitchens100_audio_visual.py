# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""EPIC-KITCHENS-100 with sound.

Length of sound, views and no SpecAugment: our choice, the authors' are not
known.
"""

_base_ = ['./common_segments_sound.py', './epic_kitchens100_labels.py']

train_dataloader = dict(dataset=_base_.dataset)
val_dataloader = dict(dataset=_base_.dataset)
test_dataloader = dict(dataset=_base_.dataset)
