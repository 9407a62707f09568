# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""ActivityNet (1.3): each instance of an activity is a clip.

The manifests name untrimmed videos with ``start`` and ``end``.  Every
instance counts for the metric; the authors' code keeps one prediction a
video, that of its last instance.  Views: our choice, theirs are not known.
"""

_base_ = './common_segments.py'

dataset = dict(data_root='data/activitynet', num_classes=200)
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
val_evaluator = dict(type='ReadableClips', metric=dict(type='ClipAccMetric'))
test_evaluator = val_evaluator
