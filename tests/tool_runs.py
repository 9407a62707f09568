# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Runs of the command lines for training and testing, on a few toy clips."""

import csv
import json
import pickle
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from shrunk_models import without_init
from tiny_models import randomize

from ca2st_mm.checkpoints.sharing import build_model
from ca2st_mm.datasets.toy import ToyWorld, class_names, write_toy_set

ROOT = Path(__file__).resolve().parent.parent
CLIPS, BATCH, RATE = 12, 4, 2e-3
STEPS = CLIPS // BATCH
ARCH = dict(
    embed_dims=16,
    num_layers=2,
    num_heads=2,
    feedforward_channels=32,
    patch_size=16,
)
CHECKPOINTS = dict(interval=1, save_best='auto', max_keep_ckpts=3)


def write_data(folder):
    """The toy's clips, the classes split into verb and noun as well."""
    write_toy_set(
        str(folder), dict(train=CLIPS, test=CLIPS), world=ToyWorld(size=32)
    )
    for split in ('train', 'test'):
        with open(folder / f'{split}.csv', newline='') as file:
            rows = list(csv.DictReader(file))
        lines = ['file,verb,noun']
        for row in rows:
            verb, noun = divmod(int(row['label']), 6)
            lines.append(f'{row["file"]},{verb},{noun}')
        path = folder / f'{split}_verb_noun.csv'
        path.write_text('\n'.join(lines) + '\n')


def _loader(cfg, ann_file, **dataset):
    cfg.update(batch_size=BATCH, num_workers=0, persistent_workers=False)
    # Serialising collects garbage in all loaded modules: half a second.
    cfg.dataset.update(ann_file=ann_file, serialize_data=False, **dataset)


def small_config(name, data):
    """A config of the toy set, its model of two layers and from scratch."""
    cfg = Config.fromfile(ROOT / f'configs/toy/{name}.py')
    cfg = Config(without_init(cfg.to_dict()))
    backbone = cfg.model.backbone
    experts = backbone.get('experts', dict(only=backbone))
    for expert in experts.values():
        own = {k: v for k, v in expert.arch.items() if k not in ARCH}
        expert.arch = ARCH | own
    for link in backbone.get('links', ()):
        link.num_heads = 2
    for encoder in backbone.get('time_encoders', {}).values():
        encoder.embed_dims = 8
    several = 'experts' in backbone
    cfg.model.cls_head.in_channels = (
        dict.fromkeys(experts, 16) if several else 16
    )
    for split in ('train', 'val', 'test'):
        name = 'train.csv' if split == 'train' else 'test.csv'
        _loader(cfg[f'{split}_dataloader'], name, data_root=str(data))
    return cfg


def toy_config(data):
    """CAST on the toy, trained as a whole."""
    cfg = small_config('cast_toy', data)
    for expert in cfg.model.backbone.experts.values():
        expert.update(adapter_ratio=None, frozen_parts=(), img_size=32)
    cfg.optim_wrapper.optimizer.lr = RATE
    cfg.default_hooks.checkpoint.update(CHECKPOINTS)
    cfg.train_cfg.update(max_epochs=1, val_begin=1, val_interval=1)
    return cfg


def ca2st_config(data):
    """CA2ST on the toy, with two clips a video."""
    cfg = small_config('ca2st_toy', data)
    steps = {s.type: s for s in cfg.test_dataloader.dataset.pipeline}
    steps['SegmentSample'].num_clips = 2
    steps['LogMelSpectrogram'].position = 'views'
    return cfg


def verb_noun_config(data):
    """The same with a verb and a noun for each clip."""
    cfg = toy_config(data)
    own = dict(type='Identity')
    cfg.model.cls_head = dict(
        type='VerbNounHead',
        num_verbs=2,
        num_nouns=6,
        fusions=dict(
            verb=dict(
                in_channels=dict(temporal=16), adapters=dict(temporal=own)
            ),
            noun=dict(
                in_channels=dict(spatial=16), adapters=dict(spatial=own)
            ),
        ),
        average_clips='prob',
    )
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        name = loader.dataset.ann_file.replace('.csv', '_verb_noun.csv')
        sizes = dict(verb=2, noun=6)
        _loader(loader, name, classes=None, num_classes=sizes)
    cfg.val_evaluator = cfg.test_evaluator = dict(type='VerbNounMetric')
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


def weights_of(path):
    return torch.load(path, weights_only=False)['state_dict']


def same_weights(a, b):
    a, b = weights_of(a), weights_of(b)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def losses_of(folder):
    """The losses that a run has logged, step by step."""
    [path] = folder.glob('*/vis_data/scalars.json')
    lines = map(json.loads, path.read_text().splitlines())
    return [line['loss'] for line in lines if 'loss' in line]


def metrics_of(folder):
    [path] = folder.glob('*/results.json')
    return json.loads(path.read_text())['metrics']


def read_dump(path):
    with open(path, 'rb') as file:
        return pickle.load(file)


def run_tool(tool, *arguments):
    """Run a command line in this process; its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('LOCAL_RANK', '0')
        patch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        patch.syspath_prepend(str((ROOT / 'tools' / tool).parent))
        try:
            runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
        except SystemExit as stop:
            return stop.code
    return 0
