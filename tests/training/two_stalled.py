# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""One of two processes; the second takes long to read a batch.

The epoch is awkward: experts are frozen, every second clip is silent, nine
clips are no whole number of steps, and the last batch is smaller.
"""

import sys
from pathlib import Path

import torch
from mmengine.registry import init_default_scope
from runs import Losses, loader, train
from stalls import SlowClips, watched
from two_processes import RANK, data, settings

from ca2st_mm.engine.launch import leave_process_group

PATIENCE, WAIT = 0.5, 2.5
CLIPS, BATCH, STEPS = 9, 2, 3


def main():
    init_default_scope('mmaction')
    torch.manual_seed(0)
    present = [1.0, 0.0] * CLIPS
    # In order, rank 1 reads clips 1, 3, then 5, 7, then 0 to have as many.
    slow = [5] if RANK == 1 else []
    clips = SlowClips(*data(CLIPS, present), slow, WAIT)
    config = settings(present)
    config.update(
        train_dataloader=loader(clips, BATCH),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        custom_hooks=[*config['custom_hooks'], watched(PATIENCE)],
    )
    losses = train(config, Losses(), work_dir=str(Path(sys.argv[1])))[1]
    assert len(losses.values) == STEPS
    leave_process_group()


if __name__ == '__main__':
    main()
