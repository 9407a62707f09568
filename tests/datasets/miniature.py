# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A recipe with small sizes, and a runner for it."""

from pathlib import Path

import tiny_models as tiny
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from shrunk_models import shrink, shrink_loader, without_init

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def load(name):
    """A recipe by its name, or any config by its path."""
    cfg = Config.fromfile((CONFIGS / name).with_suffix('.py'))
    cfg.model = shrink(without_init(cfg.model.to_dict()))
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'] = shrink_loader(cfg[f'{split}_dataloader'])
    return cfg


def runner_of(cfg, folder):
    torch.manual_seed(0)
    tiny.quiet()
    parts = [
        f'{split}_{part}'
        for split in ('train', 'val', 'test')
        for part in ('dataloader', 'evaluator')
    ]
    # Runner.from_cfg formats the config several times, a second each.
    return Runner(
        model=cfg.model.to_dict(),
        **{part: cfg[part] for part in parts if part in cfg},
        train_cfg=dict(by_epoch=True, max_epochs=1),
        val_cfg=dict(),
        test_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        default_hooks=dict(checkpoint=None),
        custom_hooks=[dict(type='ResultRecordHook')],
        default_scope='mmaction',
        experiment_name=Path(folder).name,
        log_level='WARNING',
        work_dir=str(folder),
        randomness=dict(seed=0),
    )
