# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Small checkpoints lose nothing and refuse foreign experts."""

import copy
from pathlib import Path

import pytest
import tiny_models as tiny
import torch
from mmengine.runner import Runner
from torch.utils.data import Dataset

from ca2st_mm.checkpoints import load_weights
from ca2st_mm.registry import MODELS


class Clips(Dataset):
    metainfo = {}

    def __len__(self):
        return 4

    def __getitem__(self, index):
        video = tiny.video(1, seed=index)
        return dict(
            inputs=dict(imgs=video), data_samples=tiny.samples([index % 2])[0]
        )


def config_in(folder):
    """CAST whose two experts come from files."""
    backbone = copy.deepcopy(tiny.CAST)
    for seed, (name, expert) in enumerate(backbone['experts'].items()):
        path = folder / f'{name}.pth'
        model = tiny.randomize(tiny.build(expert), std=0.1, seed=seed)
        torch.save(model.state_dict(), path)
        expert['init_cfg'] = dict(type='Pretrained', checkpoint=str(path))
    dims = dict(spatial=tiny.DIMS, temporal=tiny.DIMS)
    loader = dict(
        dataset=Clips(),
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
    )
    return dict(
        model=dict(
            type='MultiExpertRecognizer',
            backbone=backbone,
            cls_head=dict(type='FusionHead', num_classes=2, in_channels=dims),
            data_preprocessor=dict(
                type='MultiModalDataPreprocessor',
                preprocessors=dict(imgs=dict(type='ActionDataPreprocessor')),
            ),
        ),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-2)),
        custom_hooks=[dict(type='DeltaCheckpointHook')],
        default_scope='mmaction',
        randomness=dict(seed=0),
        work_dir=str(folder / 'work'),
    )


@pytest.fixture
def config(tmp_path):
    return config_in(tmp_path)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A config, its model after an epoch, and the checkpoint's path."""
    config = config_in(tmp_path_factory.mktemp('trained'))
    model = run(config, 'trained').model
    return config, model, checkpoint_of(config)


def run(config, experiment, **changes):
    cfg = {**config, **changes, 'experiment_name': experiment}
    runner = Runner(**copy.deepcopy(cfg))
    runner.train()
    return runner


def checkpoint_of(config, epoch=1):
    return Path(config['work_dir']) / f'epoch_{epoch}.pth'


def assert_same(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert set(a) == set(b)
    for key in a:
        assert torch.equal(a[key], b[key]), key


def test_only_what_was_trained_is_stored(trained):
    _, model, path = trained
    stored = torch.load(path)
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    prints = {
        f'backbone.experts.{name}.frozen_sha256'
        for name in ('spatial', 'temporal')
    }
    assert names and set(stored['state_dict']) == names | prints
    experts = stored['meta']['frozen_experts']
    assert experts['backbone.experts.spatial']['checkpoint'].endswith(
        'spatial.pth'
    )


@pytest.mark.parametrize('how', ['torch', 'mmengine'])
def test_loading_puts_the_frozen_weights_back(trained, how):
    config, model, path = trained
    fresh = Runner(**{**config, 'experiment_name': f'fresh-{how}'})
    if how == 'torch':
        fresh.model.load_state_dict(torch.load(path)['state_dict'])
    else:
        fresh.load_checkpoint(str(path))
    assert_same(fresh.model, model)


def test_resuming_equals_an_unbroken_run(config, tmp_path):
    two = dict(by_epoch=True, max_epochs=2)
    whole = run(config, 'whole', train_cfg=two, custom_hooks=[])
    other = dict(config, work_dir=str(tmp_path / 'parts'))
    run(other, 'first')
    second = run(other, 'second', train_cfg=two, resume=True)
    assert second.iter == 4
    assert_same(second.model, whole.model)


@pytest.mark.parametrize('init', ['other', 'none'])
def test_other_weights_are_refused(trained, config, tmp_path, init):
    expert = config['model']['backbone']['experts']['spatial']
    if init == 'none':
        del expert['init_cfg']
    else:
        stored = torch.load(tmp_path / 'spatial.pth')
        stored['layers.1.ffn.fc1.weight'][0, 0] += 1e-3
        torch.save(stored, tmp_path / 'spatial.pth')
    fresh = Runner(**{**config, 'experiment_name': f'other-{init}'})
    with pytest.raises(
        ValueError, match=r'frozen weights of backbone\.exp.*sp'
    ):
        fresh.load_checkpoint(str(trained[2]))


@pytest.mark.parametrize('why', ['no source', 'thawed', 'loaded'])
def test_what_cannot_come_back_is_saved_whole(config, tmp_path, why):
    if why == 'no source':
        del config['model']['backbone']['experts']['spatial']['init_cfg']
    runner = Runner(**{**config, 'experiment_name': why})
    key = 'backbone.experts.spatial.layers.0.ffn.fc1.weight'
    if why == 'thawed':
        runner.model.backbone.experts.spatial.requires_grad_(True)
    elif why == 'loaded':
        runner.model.init_weights()
        runner.model.get_parameter(key).data.add_(1)
        start = tmp_path / 'start.pth'
        torch.save(runner.model.state_dict(), start)
        runner = Runner(
            **{**config, 'experiment_name': 'load', 'load_from': str(start)}
        )
    runner.train()
    stored = torch.load(checkpoint_of(config))['state_dict']
    assert torch.equal(stored[key], runner.model.state_dict()[key])
    assert 'backbone.experts.temporal.frozen_sha256' in stored


def test_averaged_weights_come_back_too(config):
    hooks = [
        dict(type='EMAHook', ema_type='ExponentialMovingAverage'),
        dict(type='DeltaCheckpointHook'),
    ]
    two = dict(by_epoch=True, max_epochs=2)
    whole = run(
        dict(config, work_dir=config['work_dir'] + '_whole'),
        'ema whole',
        custom_hooks=hooks[:1],
        train_cfg=two,
    )
    run(config, 'ema first', custom_hooks=hooks)
    stored = torch.load(checkpoint_of(config))
    key = 'backbone.experts.spatial.layers.0.ffn.fc1.weight'
    assert key not in stored['state_dict']
    assert f'module.{key}' not in stored['ema_state_dict']
    second = run(
        config, 'ema second', custom_hooks=hooks, train_cfg=two, resume=True
    )
    assert_same(second.model, whole.model)


def test_a_delta_without_a_trained_tensor_is_refused(trained):
    config, _, path = trained
    stored = torch.load(path)
    key = 'backbone.experts.spatial.layers.0.attention.adapter.up.weight'
    del stored['state_dict'][key]
    model = MODELS.build(config['model'])
    with pytest.raises(ValueError, match=f'1 tensor missing .*{key}'):
        load_weights(model, stored)
