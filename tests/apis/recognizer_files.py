# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Configs and checkpoints for the tests of predictions."""

import torch
from mmengine.config import Config
from shrunk_models import without_init
from tiny_models import randomize
from tool_runs import ARCH, ROOT

from ca2st_mm.checkpoints.sharing import build_model
from ca2st_mm.datasets.toy import class_names


def ca2st_config(data):
    """CA2ST on the toy, tiny, with two clips a video."""
    cfg = Config.fromfile(ROOT / 'configs/toy/ca2st_toy.py')
    cfg = Config(without_init(cfg.to_dict()))
    for expert in cfg.model.backbone.experts.values():
        own = {k: v for k, v in expert.arch.items() if k not in ARCH}
        expert.update(arch=ARCH | own)
    for link in cfg.model.backbone.links:
        link.num_heads = 2
    for encoder in cfg.model.backbone.time_encoders.values():
        encoder.embed_dims = 8
    widths = dict(spatial=16, temporal=16, audio=16)
    cfg.model.cls_head.in_channels = widths
    for loader in (
        cfg.train_dataloader,
        cfg.val_dataloader,
        cfg.test_dataloader,
    ):
        loader.update(num_workers=0, persistent_workers=False, batch_size=4)
        loader.dataset.update(data_root=str(data), serialize_data=False)
    steps = {step.type: step for step in loader.dataset.pipeline}
    steps['SegmentSample'].num_clips = 2
    steps['LogMelSpectrogram'].position = 'views'
    return cfg


def alone_config(data):
    """VideoMAE on the toy, tiny and alone."""
    cfg = Config.fromfile(ROOT / 'configs/toy/videomae_toy.py')
    cfg = Config(without_init(cfg.to_dict()))
    cfg.model.backbone.arch = ARCH
    cfg.model.cls_head.in_channels = ARCH['embed_dims']
    cfg.test_dataloader.dataset.update(data_root=str(data))
    return cfg


def save(folder, cfg, classes=None):
    """Write a config, and a checkpoint as MMEngine's runner writes it.

    Returns:
        Both paths.
    """
    folder.mkdir()
    model = randomize(build_model(cfg), std=0.2)
    head = cfg.model.cls_head
    if classes is None and 'num_classes' in head:
        classes = class_names()
    if classes is None:
        classes = dict(
            verb=[f'verb {n}' for n in range(head.num_verbs)],
            noun=[f'noun {n}' for n in range(head.num_nouns)],
        )
    text = cfg.pretty_text
    path = folder / 'config.py'
    path.write_text('\n'.join(f'{k} = {v!r}' for k, v in plain(cfg).items()))
    checkpoint = folder / 'epoch_1.pth'
    meta = dict(cfg=text, dataset_meta=dict(classes=classes))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), checkpoint)
    return str(path), str(checkpoint)


def plain(cfg):
    """The config as plain dicts, in its own order."""
    return {k: v for k, v in cfg.to_dict().items() if k != 'filename'}
