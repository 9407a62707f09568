# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Runtime of the toy's experts: keeps one file, the expert's weights."""

_base_ = './toy_runtime.py'

default_hooks = dict(
    checkpoint=dict(
        filename_tmpl='expert.pth',
        interval=1000,
        save_last=True,
        save_best=None,
        save_optimizer=False,
        max_keep_ckpts=-1,
    )
)
