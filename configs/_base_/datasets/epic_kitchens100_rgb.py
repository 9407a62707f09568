# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""EPIC-KITCHENS-100, pictures only: a verb and a noun for each clip.

Clips are trimmed files, or spans (``start``, ``end``) of whole videos.
"""

_base_ = ['./common_segments.py', './epic_kitchens100_labels.py']

train_dataloader = dict(dataset=_base_.dataset)
val_dataloader = dict(dataset=_base_.dataset)
test_dataloader = dict(dataset=_base_.dataset)
