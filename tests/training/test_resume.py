# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A killed run goes on as if nothing had happened."""

import copy
import io
import multiprocessing
import runpy
import time
from pathlib import Path

import pytest
import torch
from broken_runs import (
    EPOCHS,
    PER_EPOCH,
    Killed,
    killed_run,
    resumed_run,
    shaken_config,
    whole_run,
)
from mmengine.config import Config
from runs import train

from ca2st_mm.engine.whole_checkpoints import (
    AtomicLocalBackend,
    is_whole,
    last_whole_checkpoint,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize('workers', [0, 2])
def test_epochs_go_on_with_the_same_losses(tmp_path, workers):
    config = shaken_config(tmp_path, workers)
    seeded = dict(randomness=dict(seed=5))
    expected = whole_run(config, tmp_path, **seeded)
    assert len(expected) == EPOCHS * PER_EPOCH
    before = killed_run(config, kill_at=PER_EPOCH + 1, **seeded)
    after = resumed_run(config)  # the checkpoint knows the seed
    assert min(after) == PER_EPOCH
    assert {**before, **after} == expected
    # It is no matter of course: clips and masks differ by epoch.
    assert len(set(expected.values())) == len(expected)


def test_iterations_go_on_within_an_epoch(tmp_path):
    config = shaken_config(tmp_path, workers=1)
    changes = dict(
        train_cfg=dict(
            by_epoch=False, max_iters=8, val_interval=3, val_begin=1
        ),
        param_scheduler=[dict(type='WarmupCosineLR', warmup=2, end=8)],
        checkpoint=dict(by_epoch=False, interval=4),
        randomness=dict(seed=5),
    )
    config['train_dataloader']['sampler'] = dict(
        type='InfiniteSampler', shuffle=True
    )
    config['param_scheduler'] = []
    config = {**config, **changes}
    checkpoint = config.pop('checkpoint')
    config['param_scheduler'][0]['by_epoch'] = False
    expected = whole_run(config, tmp_path, checkpoint=checkpoint)
    killed_run(config, kill_at=5, checkpoint=checkpoint)
    after = resumed_run(config, checkpoint=checkpoint)
    assert min(after) == 4
    assert after == {i: expected[i] for i in after}


def test_without_the_states_the_losses_differ(tmp_path):
    config = shaken_config(tmp_path)
    seeded = dict(randomness=dict(seed=5))
    expected = whole_run(config, tmp_path, **seeded)
    killed_run(config, kill_at=PER_EPOCH + 1, **seeded)
    path = last_whole_checkpoint(config['work_dir'])
    stored = torch.load(path, weights_only=False)
    del stored['random_states']
    torch.save(stored, path)
    after = resumed_run(config)
    assert all(after[i] != expected[i] for i in after)


def test_a_kill_while_a_checkpoint_is_written_costs_one_epoch(
    tmp_path, monkeypatch
):
    config = shaken_config(tmp_path)
    seeded = dict(randomness=dict(seed=5))
    expected = whole_run(config, tmp_path, **seeded)
    whole_put = AtomicLocalBackend.put

    def put(self, obj, filepath):
        if 'epoch_2' not in str(filepath):
            return whole_put(self, obj, filepath)
        part = f'{filepath}.part'
        with open(part, 'wb') as file:
            file.write(obj[: len(obj) // 2])
        raise Killed

    monkeypatch.setattr(AtomicLocalBackend, 'put', put)
    with pytest.raises(Killed):
        train(copy.deepcopy(config), **seeded)
    monkeypatch.undo()
    assert last_whole_checkpoint(config['work_dir']).endswith('epoch_1.pth')
    after = resumed_run(config)
    assert after == {i: expected[i] for i in range(PER_EPOCH, len(expected))}


def checkpoints(folder, *numbers):
    buffer = io.BytesIO()
    torch.save(dict(meta={}, values=torch.arange(1000)), buffer)
    for number in numbers:
        path = folder / f'epoch_{number}.pth'
        path.write_bytes(buffer.getvalue())
        time.sleep(0.02)
    return buffer.getvalue()


@pytest.mark.parametrize('fault', ['cut', 'empty', 'flipped'])
def test_a_broken_newest_checkpoint_is_passed_over(tmp_path, fault):
    whole = checkpoints(tmp_path, 1, 2, 10)
    assert last_whole_checkpoint(tmp_path).endswith('epoch_10.pth')
    middle = len(whole) // 2
    broken = dict(
        cut=whole[:middle],
        empty=b'',
        flipped=whole[:middle] + b'\xff' * 8 + whole[middle + 8 :],
    )
    (tmp_path / 'epoch_10.pth').write_bytes(broken[fault])
    assert last_whole_checkpoint(tmp_path).endswith('epoch_2.pth')
    (tmp_path / 'best_acc_epoch_3.pth').write_bytes(whole)
    assert last_whole_checkpoint(tmp_path).endswith('epoch_2.pth')


def test_an_empty_folder_has_none(tmp_path):
    assert last_whole_checkpoint(tmp_path) is None
    assert last_whole_checkpoint(tmp_path / 'missing') is None


@pytest.mark.parametrize('given', ['auto', 'other.pth'])
def test_the_tool_resumes_from_the_newest_whole_one(
    tmp_path, given, monkeypatch
):
    tool = runpy.run_path(str(ROOT / 'tools' / 'train.py'))
    whole = checkpoints(tmp_path, 1, 2)
    (tmp_path / 'epoch_2.pth').write_bytes(whole[:100])
    monkeypatch.setattr('sys.argv', ['train.py', 'any.py', '--resume', given])
    flags = tool['parse_args']()
    cfg = Config(dict(work_dir=str(tmp_path)))
    tool['apply_flags'](cfg, flags)
    assert cfg.resume
    wanted = dict(auto=str(tmp_path / 'epoch_1.pth')).get(given, given)
    assert cfg.load_from == wanted


def keep_writing(path, data, started):
    backend = AtomicLocalBackend()
    while True:
        backend.put(data, path)
        started.set()


def test_a_file_is_whole_whenever_its_writer_dies(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    buffer = io.BytesIO()
    torch.save(dict(values=torch.zeros(500_000)), buffer)
    fork = multiprocessing.get_context('fork')
    started = fork.Event()
    writer = fork.Process(
        target=keep_writing, args=(path, buffer.getvalue(), started)
    )
    writer.start()
    assert started.wait(20)
    time.sleep(0.03)
    writer.kill()
    writer.join()
    assert is_whole(path)
