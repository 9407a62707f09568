# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A loss that is not finite moves no weight, and its report is exact."""

import copy
import gc
import json
import logging
import weakref

import pytest
import tiny_models as tiny
import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from runs import Clips, Losses, loader, recipe, tiny_config, tiny_model, train

from ca2st_mm.engine import NonFiniteLossError, NonFiniteLossHook
from ca2st_mm.models.recognizers import MultiExpertRecognizer
from ca2st_mm.registry import MODELS

CLIPS, BATCH = 12, 2
PER_EPOCH = CLIPS // BATCH
CULPRITS = [
    'backbone.experts.temporal.layers.1.feedforward.ffn.0',
    'backbone.links.1.1',
    'cls_head.fc_cls',
]


class NamedClips(Clips):
    """As a manifest with ids gives them; clip 0 is the first."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        sample['data_samples'].set_metainfo(
            dict(clip_id=f'id {index}', filename=f'{index}.mp4')
        )
        return sample


class Weights(Hook):
    """Remembers the trained weights before each step and after the last."""

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append(
            torch.cat([p.detach().flatten() for p in _trained(runner)])
        )


def _trained(runner):
    return (p for p in runner.model.parameters() if p.requires_grad)


class Inject(Hook):
    """Puts a NaN into a parameter before an iteration."""

    def __init__(self, name, at):
        self.name, self.at = name, at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.at:
            with torch.no_grad():
                runner.model.get_parameter(self.name).view(-1)[0] = torch.nan


def settings(tmp_path, bad_clips=(), stream='audios', **changes):
    inputs = tiny.streams(CLIPS)
    for clip in bad_clips:
        inputs[stream][clip].view(-1)[3] = torch.nan
    labels = [i % 4 for i in range(CLIPS)]
    config = recipe(epochs=2)
    config['custom_hooks'] = config['custom_hooks'] + changes.pop('hooks', [])
    config['optim_wrapper'].update(changes.pop('optim_wrapper', {}))
    return dict(
        config,
        model=tiny_model(tiny.CA2ST, inputs),
        train_dataloader=loader(NamedClips(inputs, labels), BATCH),
        work_dir=str(tmp_path / 'work'),
        randomness=dict(seed=1),
    ) | dict(changes)


def run(config, patience, losses=None):
    """A run of the default hooks, with this patience."""
    return train(
        config,
        losses,
        default_changes=dict(non_finite_loss=dict(patience=patience)),
    )


def stopped(config, patience=1):
    """The message and the report of a run that stops."""
    with pytest.raises(NonFiniteLossError) as error:
        run(config, patience)
    [path] = reports(config)
    assert str(path) in str(error.value)
    return str(error.value), json.loads(path.read_text())


def reports(config):
    folder = config['work_dir']
    return [*__import__('pathlib').Path(folder).rglob('non_finite_*.json')]
