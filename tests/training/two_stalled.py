# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""One of two processes; the second takes long to read a batch."""

import sys
from pathlib import Path

import torch
from mmengine.registry import init_default_scope
from runs import train
from stalls import SlowClips, watched
from two_processes import RANK, TRAINED, settings

PATIENCE, WAIT = 0.5, 2.5


def main():
    init_default_scope('mmaction')
    torch.manual_seed(0)
    config = settings([1.0] * TRAINED)
    config['train_dataloader']['sampler']['shuffle'] = False
    read = config['train_dataloader']['dataset']
    # With two clips a step and process, rank 1 reads 5 for its second batch.
    slow = [5] if RANK == 1 else []
    config['train_dataloader']['dataset'] = SlowClips(
        read.inputs, read.labels, slow, WAIT
    )
    config.update(
        custom_hooks=[*config['custom_hooks'], watched(PATIENCE)],
        train_cfg=dict(by_epoch=True, max_epochs=1),
    )
    train(config, work_dir=str(Path(sys.argv[1])))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == '__main__':
    main()
