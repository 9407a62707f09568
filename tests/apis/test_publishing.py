# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What is shared is what was trained, whole or without frozen experts."""

import copy
import json

import pytest
import tiny_models as tiny
import torch
from mmengine.config import Config

from ca2st_mm.apis import is_delta, publish
from ca2st_mm.checkpoints.files import read_checkpoint
from ca2st_mm.registry import MODELS
from ca2st_mm.utils.files import sha256_of

FROZEN = dict(spatial='clip.pth')


@pytest.fixture
def config(tmp_path):
    backbone = copy.deepcopy(tiny.CAST)
    for name, expert in backbone['experts'].items():
        path = tmp_path / f'{name}.pth'
        torch.save(tiny.noisy(expert).state_dict(), path)
        expert['init_cfg'] = dict(type='Pretrained', checkpoint=str(path))
    dims = dict(spatial=tiny.DIMS, temporal=tiny.DIMS)
    head = dict(type='FusionHead', num_classes=2, in_channels=dims)
    return Config(
        dict(
            model=dict(
                type='MultiExpertRecognizer', backbone=backbone, cls_head=head
            )
        )
    )


@pytest.fixture
def trained(config, tmp_path):
    """A checkpoint as MMEngine writes it, and its weights."""
    model = MODELS.build(config.model)
    model.init_weights()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    path = tmp_path / 'epoch_1.pth'
    text = f'model = {config.model.to_dict()!r}'
    meta = dict(
        cfg=text, dataset_meta=dict(classes=['a', 'b']), frozen_experts=FROZEN
    )
    weights = model.state_dict()
    torch.save(
        dict(meta=meta, state_dict=weights, optimizer=dict(state=weights)),
        path,
    )
    return path, weights


def assert_same(a, b):
    assert set(a) == set(b)
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_whole_checkpoint(trained, tmp_path, suffix):
    path, weights = trained
    written = publish(
        path, tmp_path / 'out' / f'cast{suffix}', metadata=dict(licence='MIT')
    )
    assert written.name == f'cast-{sha256_of(written)[:8]}{suffix}'
    read = read_checkpoint(written)
    assert set(read) == {'state_dict', 'meta'}
    assert_same(read['state_dict'], weights)
    assert read['meta']['licence'] == 'MIT'
    assert read['meta']['config'].startswith('model = ')
    assert json.loads(read['meta']['classes']) == ['a', 'b']
    assert read['meta']['source_sha256'] == sha256_of(path)


def test_the_checkpoint_of_the_training_stays(trained, tmp_path):
    path, _ = trained
    before = path.read_bytes()
    written = publish(path, path)
    assert path.read_bytes() == before and written != path


def test_delta_and_back(trained, tmp_path, config):
    path, weights = trained
    small = publish(path, tmp_path / 'small.safetensors', config, delta=True)
    whole = publish(path, tmp_path / 'whole.safetensors')
    assert small.stat().st_size < whole.stat().st_size
    back = publish(small, tmp_path / 'back.safetensors', config)
    assert_same(read_checkpoint(back)['state_dict'], weights)
    meta = read_checkpoint(back)['meta']
    assert json.loads(meta['classes']) == ['a', 'b']
    assert json.loads(meta['frozen_experts']) == FROZEN


def test_the_config_in_the_checkpoint_is_enough(trained, tmp_path):
    path, weights = trained
    small = publish(path, tmp_path / 'small.pth', delta=True)
    assert is_delta(read_checkpoint(small)['state_dict'])
    back = read_checkpoint(publish(small, tmp_path / 'back.pth'))
    assert_same(back['state_dict'], weights)
    torch.save(dict(state_dict=weights), path)
    with pytest.raises(ValueError, match='carries no config'):
        publish(path, tmp_path / 'small.pth', delta=True)


def test_no_delta_of_weights_that_cannot_come_back(trained, tmp_path, config):
    path, weights = trained
    weights['backbone.experts.spatial.cls_token'] += 1
    torch.save(dict(state_dict=weights), path)
    with pytest.raises(
        ValueError, match='frozen weights of backbone.experts.spa'
    ):
        publish(path, tmp_path / 'small.pth', config, delta=True)
