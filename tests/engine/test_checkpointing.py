# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checkpoints are whole, fit, and lose nothing where frozen parts are out."""

import copy
import errno
import io
import os
import signal
import time
from pathlib import Path

import pytest
import tiny_models as tiny
import torch
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.fileio.backends import registry_utils
from mmengine.runner import Runner, load_checkpoint
from runs import Clips, loader, tiny_config

from ca2st_mm.checkpoints import load_weights, to_reference
from ca2st_mm.checkpoints.files import DamagedCheckpointError
from ca2st_mm.engine.checkpointing import (
    AtomicLocalBackend,
    last_whole_checkpoint,
    load_from_file,
    write_checkpoints_whole,
)
from ca2st_mm.registry import MODELS
from ca2st_mm.utils.files import written_whole


def saved(values, **meta):
    buffer = io.BytesIO()
    torch.save(dict(meta=meta, state_dict=dict(values=values)), buffer)
    return buffer.getvalue()


def flipped(data, bit=2):
    half = len(data) // 2
    return data[:half] + bytes([data[half] ^ bit]) + data[half + 1 :]


WHOLE = saved(torch.arange(1000.0))
HALF = WHOLE[: len(WHOLE) // 2]


@pytest.fixture
def write(tmp_path):
    """Writes as a run does, a second later each time."""
    clock = iter(range(1_000_000_000, 2_000_000_000))

    def file(name, data=WHOLE):
        path = tmp_path / name
        path.write_bytes(data)
        now = next(clock)
        os.utime(path, (now, now))
        return path

    return file


@pytest.mark.parametrize(
    'broken', [HALF, b'', flipped(WHOLE)], ids=['cut', 'empty', 'flipped']
)
def test_a_broken_newest_file_is_passed_over(write, tmp_path, broken):
    def newest():
        path = last_whole_checkpoint(tmp_path)
        return path and Path(path).name

    assert newest() is last_whole_checkpoint(tmp_path / 'missing') is None
    for epoch in (1, 2, 10):
        write(f'epoch_{epoch}.pth')
    assert newest() == 'epoch_10.pth'
    write('epoch_10.pth', broken)
    write('best_acc_epoch_3.pth')
    assert newest() == 'epoch_2.pth'


@pytest.mark.parametrize(
    'newest, others',
    [
        ('epoch_12.pth', {'epoch_9.pth': 30, 'interrupted.pth': 35}),
        ('interrupted.pth', {'epoch_10.pth': 30}),
        ('epoch_12.pth', {'iter_500.pth': 30}),
    ],
)
@pytest.mark.parametrize('named', [True, False])
def test_times_of_files_may_be_lost(write, tmp_path, newest, others, named):
    """A copy has its own; what counts is what the run has done last."""
    path = write(newest, saved(None, iter=36))
    for name, iteration in others.items():
        write(name, saved(None, iter=iteration))
    if named:  # epoch 99 is of an earlier run in this folder
        write('epoch_99.pth', saved(None, iter=300))
        (tmp_path / 'last_checkpoint').write_text(f'/moved/from/{newest}')
    assert last_whole_checkpoint(tmp_path) == str(path)


def test_a_flipped_bit_is_named_with_what_is_whole(write):
    """``torch.load`` takes it for another weight."""
    older, newest = write('epoch_1.pth'), write('epoch_2.pth', flipped(WHOLE))
    loaded = torch.load(newest)['state_dict']['values']
    assert not torch.equal(loaded, torch.arange(1000.0))
    with pytest.raises(DamagedCheckpointError) as error:
        load_from_file(str(newest))
    assert 'epoch_2.pth' in str(error.value)
    assert str(error.value).endswith(f'{older} is whole')


def put_any(data, path):
    with written_whole(path) as part:
        part.write_bytes(data)
        os.fsync(0)


@pytest.mark.parametrize(
    'put, hours', [(AtomicLocalBackend().put, 0), (put_any, 25)]
)
def test_kills_leave_a_whole_file_and_nothing_else(
    tmp_path, monkeypatch, put, hours
):
    path = tmp_path / 'epoch_1.pth'
    path.write_bytes(WHOLE)
    with monkeypatch.context() as patch:
        patch.setattr(
            'os.fsync', lambda _: os.kill(os.getpid(), signal.SIGKILL)
        )
        for _ in range(2):
            if not (child := os.fork()):
                put(HALF, path)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == signal.SIGKILL
            assert path.read_bytes() == WHOLE
    for left in tmp_path.glob('.*'):
        os.utime(left, (time.time() - hours * 3600,) * 2)
    monkeypatch.setattr('os.fsync', lambda _: None)
    put(HALF, path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == HALF


def test_a_file_without_check_sums_is_read(tmp_path):
    """Others save them so; PyTorch then stores zeros."""
    path = tmp_path / 'theirs.pth'
    torch.serialization.set_crc32_options(False)
    try:
        path.write_bytes(saved(torch.ones(3)))
    finally:
        torch.serialization.set_crc32_options(True)
    checkpoint = load_from_file(str(path))
    assert checkpoint['state_dict']['values'].sum() == 3


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_cannot_be_written_leaves_the_old_file(
    write, monkeypatch, code
):
    path = write('epoch_1.pth')

    def fails(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, 'fsync', fails)
    with pytest.raises(OSError, match=os.strerror(code)) as error:
        AtomicLocalBackend().put(saved(torch.zeros(9)), str(path))
    assert error.value.filename == str(path)
    assert path.read_bytes() == WHOLE
    assert list(path.parent.iterdir()) == [path]


def test_our_commands_have_every_runner_write_so(tmp_path, monkeypatch):
    """An import alone leaves MMEngine's writer in place for others."""
    for known, name in (('backends', 'local'), ('prefix_to_backends', '')):
        monkeypatch.setitem(getattr(registry_utils, known), name, LocalBackend)
    path = str(tmp_path / 'epoch_1.pth')
    assert type(get_file_backend(path)) is LocalBackend
    write_checkpoints_whole()
    assert type(get_file_backend(path)) is AtomicLocalBackend


MODEL = tiny_config(tiny.CAST, ['imgs'])


def build(seed):
    model = tiny.randomize(MODELS.build(copy.deepcopy(MODEL)), seed=seed)
    for layer in model.backbone.experts.temporal.layers:
        layer.attention.attn.qkv.bias.data[tiny.DIMS : 2 * tiny.DIMS] = 0
    return model


def assert_same(a, b):
    tiny.assert_same(a.state_dict(), b.state_dict(), atol=0, rtol=0)


@pytest.mark.parametrize('wrapper', ['model', 'module'])
def test_a_checkpoint_of_the_authors_loads(tmp_path, wrapper):
    trained, other = build(0), build(1)
    theirs = to_reference(trained.state_dict())
    torch.save({wrapper: theirs}, tmp_path / 'theirs.pt')
    load_checkpoint(other, str(tmp_path / 'theirs.pt'))
    assert_same(other, trained)


TWO = dict(by_epoch=True, max_epochs=2)
KEY = 'backbone.experts.spatial.layers.0.ffn.fc1.weight'


def config_in(folder):
    """CAST whose two experts come from files."""
    backbone = copy.deepcopy(tiny.CAST)
    for seed, (name, expert) in enumerate(backbone['experts'].items()):
        path = folder / f'{name}.pth'
        model = tiny.randomize(tiny.build(expert), std=0.1, seed=seed)
        torch.save(model.state_dict(), path)
        expert['init_cfg'] = dict(type='Pretrained', checkpoint=str(path))
    clips = Clips(dict(imgs=tiny.video(4)), [0, 1, 0, 1])
    return dict(
        model=tiny_config(backbone, ['imgs']),
        train_dataloader=loader(clips, 2),
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


def make(config, experiment, **changes):
    cfg = {**config, **changes, 'experiment_name': experiment}
    return Runner(**copy.deepcopy(cfg))


def run(config, experiment, **changes):
    runner = make(config, experiment, **changes)
    runner.train()
    return runner


def checkpoint_of(config):
    return Path(config['work_dir']) / 'epoch_1.pth'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A config, its model after an epoch, and the checkpoint's path."""
    config = config_in(tmp_path_factory.mktemp('trained'))
    return config, run(config, 'trained').model, checkpoint_of(config)


def test_only_what_was_trained_is_stored(trained):
    _, model, path = trained
    stored = torch.load(path)
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    prints = {
        f'backbone.experts.{name}.frozen_sha256'
        for name in ('spatial', 'temporal')
    }
    assert names and set(stored['state_dict']) == names | prints
    spatial = stored['meta']['frozen_experts']['backbone.experts.spatial']
    assert spatial['checkpoint'].endswith('spatial.pth')


def test_loading_puts_the_frozen_weights_back(trained):
    config, model, path = trained
    fresh = make(config, 'fresh')
    fresh.model.load_state_dict(torch.load(path)['state_dict'])
    assert_same(fresh.model, model)


@pytest.mark.parametrize('ema', [False, True])
def test_resuming_equals_an_unbroken_run(config, tmp_path, ema):
    """Averaged weights come back, too."""
    average = dict(type='EMAHook', ema_type='ExponentialMovingAverage')
    plain = [average] if ema else []
    hooks = [*plain, *config['custom_hooks']]
    whole = run(config, f'whole {ema}', train_cfg=TWO, custom_hooks=plain)
    config = dict(config, work_dir=str(tmp_path / 'parts'), custom_hooks=hooks)
    run(config, f'first {ema}')
    stored = torch.load(checkpoint_of(config))
    assert KEY not in stored['state_dict']
    if ema:
        assert f'module.{KEY}' not in stored['ema_state_dict']
    second = run(config, f'second {ema}', train_cfg=TWO, resume=True)
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
    fresh = make(config, f'other-{init}')
    with pytest.raises(
        ValueError, match=r'frozen weights of backbone\.exp.*sp'
    ):
        fresh.load_checkpoint(str(trained[2]))


@pytest.mark.parametrize('why', ['no source', 'thawed', 'loaded'])
def test_what_cannot_come_back_is_saved_whole(config, tmp_path, why):
    if why == 'no source':
        del config['model']['backbone']['experts']['spatial']['init_cfg']
    runner = make(config, why)
    if why == 'thawed':
        runner.model.backbone.experts.spatial.requires_grad_(True)
    elif why == 'loaded':
        runner.model.init_weights()
        runner.model.get_parameter(KEY).data.add_(1)
        start = tmp_path / 'start.pth'
        torch.save(runner.model.state_dict(), start)
        runner = make(config, 'load', load_from=str(start))
    runner.train()
    stored = torch.load(checkpoint_of(config))['state_dict']
    assert torch.equal(stored[KEY], runner.model.state_dict()[KEY])
    assert 'backbone.experts.temporal.frozen_sha256' in stored


def test_a_delta_without_a_trained_tensor_is_refused(trained):
    config, _, path = trained
    stored = torch.load(path)
    key = 'backbone.experts.spatial.layers.0.attention.adapter.up.weight'
    del stored['state_dict'][key]
    model = MODELS.build(copy.deepcopy(config['model']))
    with pytest.raises(ValueError, match=f'1 missing .*{key}'):
        load_weights(model, stored)
