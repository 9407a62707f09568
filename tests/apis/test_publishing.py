# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What is shared is what was trained, whole or without frozen experts."""

import copy
import json

import pytest
import tiny_models as tiny
import torch
from mmengine.config import Config
from tool_runs import run_tool

from ca2st_mm import get_model
from ca2st_mm.checkpoints import read_checkpoint
from ca2st_mm.checkpoints.delta import FINGERPRINT
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


def publish(source, folder, *flags):
    assert run_tool('publish_model.py', source, folder, *flags) == 0
    read = read_checkpoint(folder)
    return read['state_dict'], read['meta']


def test_what_is_published_is_whole_or_a_delta_and_comes_back(
    trained, tmp_path
):
    path, weights = trained
    before = path.read_bytes()
    found, meta = publish(path, tmp_path / 'whole', '--licence', 'MIT')
    assert_same(found, weights)
    assert meta['licence'] == 'MIT' and meta['config'].startswith('model')
    assert json.loads(meta['classes']) == ['a', 'b']
    assert path.read_bytes() == before
    small, _ = publish(path, tmp_path / 'small', '--delta')
    assert any(key.endswith(FINGERPRINT) for key in small)
    assert sum(v.numel() for v in small.values()) < sum(
        v.numel() for v in weights.values()
    )
    back, meta = publish(tmp_path / 'small', tmp_path / 'back')
    assert_same(back, weights)
    assert json.loads(meta['classes']) == ['a', 'b']


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth', '.pt'])
def test_one_file_has_its_hash_in_the_name(trained, tmp_path, suffix):
    path, weights = trained
    out = tmp_path / 'out' / f'cast{suffix}'
    assert run_tool('publish_model.py', path, out, '--licence', 'MIT') == 0
    [written] = out.parent.iterdir()
    assert written.name == f'cast-{sha256_of(written)[:8]}{suffix}'
    assert written.stat().st_mode & 0o777 == 0o644
    read = read_checkpoint(written)
    assert set(read) == {'state_dict', 'meta'}
    assert_same(read['state_dict'], weights)
    assert read['meta']['licence'] == 'MIT'
    assert read['meta']['source_sha256'] == sha256_of(path)
    assert json.loads(read['meta']['frozen_experts']) == FROZEN
    assert_same(get_model(written).state_dict(), weights)


def test_a_checkpoint_without_a_config_is_given_one(
    trained, tmp_path, config, capsys
):
    path, weights = trained
    torch.save(dict(state_dict=weights), path)
    assert run_tool('publish_model.py', path, tmp_path / 'a') == 2
    assert 'carries no config' in capsys.readouterr().err
    config.dump(tmp_path / 'config.py')
    flags = '--config', tmp_path / 'config.py'
    assert_same(publish(path, tmp_path / 'a', *flags)[0], weights)
    # A delta of weights that cannot come back.
    weights['backbone.experts.spatial.cls_token'] += 1
    torch.save(dict(state_dict=weights), path)
    assert run_tool(
        'publish_model.py', path, tmp_path / 'b', *flags, '--delta'
    )
    assert 'frozen weights of backbone.experts.spa' in capsys.readouterr().err
    assert not (tmp_path / 'b').exists()


def test_class_names_fit_the_head_or_are_refused(trained, tmp_path):
    model = get_model(trained[0])
    with pytest.raises(ValueError, match='3 names, but the head has 2'):
        model.save_pretrained(tmp_path / 'a', classes=['a', 'b', 'c'])
    assert not (tmp_path / 'a').exists()
    model.save_pretrained(tmp_path / 'a', classes=['c', 'd'])
    again = get_model(tmp_path / 'a')
    assert again.dataset_meta['classes'] == ['c', 'd']
