# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""An interrupted run resumes as if it had not been interrupted."""

import copy
import io
import multiprocessing
import runpy
import shutil
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
from mmengine.runner import FlexibleRunner, Runner
from runs import RATE, Losses, recipe, train

from ca2st_mm.engine.launch import UsageError
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


def warmup_cosine(epochs, **changes):
    return [
        dict(
            type='WarmupCosineLR',
            warmup=1,
            end=epochs,
            by_epoch=True,
            convert_to_iter_based=True,
            **changes,
        )
    ]


def chained(epochs, by_epoch=False):
    """Schedulers of MMEngine, which go from one value to the next."""
    common = dict(by_epoch=True, convert_to_iter_based=not by_epoch)
    return [
        dict(type='LinearLR', start_factor=0.1, end=1, **common),
        dict(type='CosineAnnealingLR', begin=1, end=epochs, **common),
    ]


def trained(folder, engine, epochs, schedule, resume=False, **changes):
    """The learning rates of a run of tiny steps, by iteration."""
    config = shaken_config(folder)
    config['train_cfg']['max_epochs'] = epochs
    if engine is FlexibleRunner:
        config['strategy'] = dict(type='SingleDeviceStrategy')
    for loader in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        del config[loader]
    checkpoint = last_whole_checkpoint(config['work_dir']) if resume else None
    return train(
        config,
        engine=engine,
        resume=resume,
        load_from=checkpoint,
        param_scheduler=schedule,
        **changes,
    )


def last_log(tmp_path):
    logs = (tmp_path / 'other').glob('work/*/*.log')
    return max(logs, key=lambda path: path.stat().st_mtime_ns).read_text()


OLD, NEW = 2, 4  # epochs


@pytest.fixture(scope='module')
def earlier(tmp_path_factory):
    """Runs that several tests need: folder and learning rates."""
    made = {}

    def run(epochs, schedule, engine=Runner):
        key = epochs, repr(schedule), engine
        if key not in made:
            folder = tmp_path_factory.mktemp('earlier')
            losses = trained(folder, engine, epochs, schedule)[1]
            made[key] = folder, losses.rates
        return made[key]

    return run


@pytest.mark.parametrize(
    'engine, old, new',
    [
        (Runner, warmup_cosine(OLD), warmup_cosine(NEW)),
        (FlexibleRunner, warmup_cosine(OLD), warmup_cosine(NEW)),
        (Runner, warmup_cosine(NEW, min_ratio=0.5), warmup_cosine(NEW)),
        (Runner, chained(OLD), chained(NEW)),
        (Runner, chained(OLD, by_epoch=True), chained(NEW, by_epoch=True)),
        (Runner, warmup_cosine(OLD), chained(NEW)),
        (FlexibleRunner, warmup_cosine(OLD), chained(NEW)),
        (Runner, chained(OLD), warmup_cosine(NEW)),
    ],
)
def test_a_resumed_run_follows_the_schedule_of_its_config(
    earlier, tmp_path, engine, old, new
):
    """The old schedule has ended; its last value stayed for good before."""
    folder, _ = earlier(OLD, old, engine)
    shutil.copytree(folder, tmp_path / 'other')
    _, expected = earlier(NEW, new)
    found = trained(tmp_path / 'other', engine, NEW, new, resume=True)[1].rates
    assert sorted(found) == list(range(OLD * PER_EPOCH, NEW * PER_EPOCH))
    for step, rates in found.items():
        assert rates == pytest.approx(expected[step], rel=1e-6), step
    assert 'The config is not that of the checkpoint' in last_log(tmp_path)


def test_a_resumed_run_follows_the_rate_and_decay_of_its_config(
    earlier, tmp_path
):
    schedule = warmup_cosine(NEW)
    optimizer = copy.deepcopy(recipe(NEW)['optim_wrapper'])
    optimizer['optimizer'].update(lr=RATE / 2, weight_decay=0.5)
    both = dict(optim_wrapper=optimizer)
    expected = trained(tmp_path / 'whole', Runner, NEW, schedule, **both)[1]
    shutil.copytree(earlier(OLD, schedule)[0], tmp_path / 'other')
    runner, losses = trained(
        tmp_path / 'other', Runner, NEW, schedule, resume=True, **both
    )
    for step, rates in losses.rates.items():
        assert rates == pytest.approx(expected.rates[step], rel=1e-6), step
    decays = {g['weight_decay'] for g in runner.optim_wrapper.param_groups}
    assert decays == {0.0, 0.5}
    assert 'weight_decay 0.05 -> 0.5' in last_log(tmp_path)


@pytest.mark.parametrize('engine', [Runner, FlexibleRunner])
def test_the_same_schedule_is_not_touched(earlier, tmp_path, engine):
    schedule = chained(NEW)
    _, whole = earlier(NEW, schedule)
    killed = Losses(kill_at=OLD * PER_EPOCH)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / 'other', engine, NEW, schedule, losses=killed)
    after = trained(tmp_path / 'other', engine, NEW, schedule, resume=True)[1]
    assert after.rates == {i: whole[i] for i in after.rates}
    assert 'The config is not that' not in last_log(tmp_path)


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


@pytest.mark.parametrize('other, ends', [('epoch_2.pth', 0), ('none', 1)])
def test_processes_resume_from_one_checkpoint_or_end(other, ends):
    """Without a disk that all machines share, one may have none."""
    check = runpy.run_path(str(ROOT / 'tools/train.py'))['check_same_start']
    check.__globals__['all_gather_object'] = lambda mine: [mine, other]
    cfg = Config(dict(work_dir='w', resume=True, load_from='w/epoch_2.pth'))
    if not ends:
        return check(cfg)
    with pytest.raises(UsageError, match='rank 1: none'):
        check(cfg)


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
