# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Runs that stand still where they are told to."""

import time

import tiny_models as tiny
from runs import Clips, loader, recipe, tiny_model

BATCHES = 3  # of one clip each


class SlowClips(Clips):
    """Takes a while to read the clips that it is told."""

    def __init__(self, inputs, labels, slow=(), seconds=0.0):
        super().__init__(inputs, labels)
        self.slow, self.seconds = slow, seconds

    def __getitem__(self, index):
        if index in self.slow:
            time.sleep(self.seconds)
        return super().__getitem__(index)


class SlowStep:
    """Has a module wait in one of its calls; a forward pre-hook."""

    def __init__(self, call, training, seconds):
        self.call, self.training, self.seconds = call, training, seconds
        self.calls = 0

    def __call__(self, module, inputs):
        if module.training is self.training:
            self.calls += 1
            if self.calls == self.call:
                time.sleep(self.seconds)


def watched(seconds):
    """The hook, which warns after so many seconds."""
    return dict(type='StallWatchHook', minutes=seconds / 60)


def stalling_run(folder, patience, *, slow=(), judged=(), step=None, wait=0.0):
    """Settings of a short training run with validation after it.

    ``slow`` and ``judged`` name the clips that take ``wait`` seconds to
    read, in training and in validation; ``step`` is a ``SlowStep``.
    """
    inputs, labels = dict(imgs=tiny.video(BATCHES)), [0, 1, 2]
    model = tiny_model(tiny.CAST, inputs)
    if step:
        model.cls_head.register_forward_pre_hook(step)
    return dict(
        recipe(1, warmup=0),
        model=model,
        train_dataloader=loader(SlowClips(inputs, labels, slow, wait), 1),
        val_dataloader=loader(SlowClips(inputs, labels, judged, wait), 1),
        val_cfg=dict(),
        val_evaluator=dict(type='ClipAccMetric', topk=(1,)),
        custom_hooks=[watched(patience)],
        work_dir=str(folder),
        randomness=dict(seed=0),
    )
