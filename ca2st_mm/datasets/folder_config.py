# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The config of a data set made of folders."""

import os.path as osp

from mmengine.config import Config

from .folders import FolderError

_TEXT = '''"""Your clips, {count} classes (from tools/data/from_folders.py)."""

_base_ = {base!r}

mine = dict(
    data_root={root!r},
    data_prefix=dict(video='', audio=''),
    classes='classes.txt',
    num_classes={count},
)
model = dict(cls_head=dict(num_classes={count}))
train_dataloader = dict(
    dataset=dict(mine, ann_file='train.csv'),
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(dataset=dict(mine, ann_file='val.csv'))
test_dataloader = dict(dataset=dict(mine, ann_file='val.csv'))
# A step after every batch, however small the set; the rate follows the batch.
optim_wrapper = dict(accumulative_counts=1)
'''


def config_text(base: str, root: str, count: int) -> str:
    """A config that inherits everything but data and classes.

    Args:
        base: The config to inherit from.
        root: Folder of the data set.
        count: Number of classes.

    Raises:
        FolderError: If the base is not there, or is not a config for one
            label a clip whose data is an ``AudioVisualDataset``.
    """
    if not osp.isfile(base):
        raise FolderError(f"There is no config '{base}'; see configs/.")
    cfg = Config.fromfile(base)
    head = (cfg.get('model') or {}).get('cls_head') or {}
    if 'num_classes' not in head:
        raise FolderError(
            f"The head of '{base}' is {head.get('type')}, which has no "
            'num_classes; choose a config with one label a clip, such as '
            'configs/ca2st/ca2st_k400.py.'
        )
    for split in ('train', 'val', 'test'):
        kind = cfg[f'{split}_dataloader'].dataset.type
        if kind != 'AudioVisualDataset':
            raise FolderError(
                f"The {split} data of '{base}' is {kind}, which reads no "
                'class folders; choose a config with AudioVisualDataset.'
            )
    return _TEXT.format(
        base=osp.abspath(base).replace('\\', '/'),
        root=osp.abspath(root).replace('\\', '/'),
        count=count,
    )
