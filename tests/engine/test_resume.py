# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A resumed run follows its config; what the tool resumes from."""

import errno
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import FlexibleRunner, Runner
from runs import (
    CONFIGS,
    MICRO,
    PER_EPOCH,
    RATE,
    Losses,
    recipe,
    shaken_config,
    train,
)

from ca2st_mm.engine import UsageError, launch
from ca2st_mm.engine.checkpointing import last_whole_checkpoint
from ca2st_mm.registry import MODELS


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
    config = dict(shaken_config(), work_dir=str(folder / 'work'))
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
        (Runner, chained(OLD, by_epoch=True), chained(NEW, by_epoch=True)),
        (FlexibleRunner, warmup_cosine(OLD), chained(NEW)),
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


def test_a_checkpoint_that_does_not_say_its_schedule_follows_the_config(
    earlier, tmp_path
):
    """As those of MMEngine's hooks and of version 0.1.0."""
    schedule = warmup_cosine(NEW)
    shutil.copytree(earlier(OLD, schedule)[0], tmp_path / 'other')
    path = last_whole_checkpoint(tmp_path / 'other/work')
    checkpoint = torch.load(path, weights_only=False)
    assert checkpoint.pop('schedule')
    torch.save(checkpoint, path)
    found = trained(tmp_path / 'other', Runner, NEW, schedule, resume=True)[1]
    expected = earlier(NEW, schedule)[1]
    for step, rates in found.rates.items():
        assert rates == pytest.approx(expected[step], rel=1e-6), step
    assert 'does not say its own' in last_log(tmp_path)


def test_a_resumed_run_follows_the_rate_and_decay_of_its_config(
    earlier, tmp_path
):
    schedule = warmup_cosine(NEW)
    optimizer = recipe(NEW)['optim_wrapper']
    optimizer['accumulative_counts'] = MICRO
    optimizer['optimizer'].update(lr=RATE / 2, weight_decay=0.5)
    old, expected = earlier(OLD, schedule)[0], earlier(NEW, schedule)[1]
    shutil.copytree(old, tmp_path / 'other')
    runner, losses = trained(
        tmp_path / 'other',
        Runner,
        NEW,
        schedule,
        resume=True,
        optim_wrapper=optimizer,
    )
    for step, rates in losses.rates.items():
        halves = [rate / 2 for rate in expected[step]]
        assert rates == pytest.approx(halves, rel=1e-6), step
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


@pytest.mark.parametrize(
    'flag, start',
    [
        ('auto', 'epoch_1.pth'),
        ('epoch_2.pth', 'epoch_2.pth'),  # named, and refused when it is read
        ('auto', None),
    ],
)
def test_a_run_resumes_from_the_newest_whole_one(tmp_path, flag, start):
    """Without any it starts anew; MMEngine would take a broken one."""
    if start:
        torch.save({}, tmp_path / 'epoch_1.pth')
    (tmp_path / 'epoch_2.pth').write_bytes(b'half')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
    cfg = Config(dict(work_dir=str(tmp_path), load_from='experts.pth'))
    launch.resume(cfg, flag if flag == 'auto' else str(tmp_path / flag))
    assert cfg.resume == (start is not None)
    assert Path(cfg.load_from).name == (start or 'experts.pth')


@pytest.mark.parametrize('template', ['epoch_{}.pth', 'cast_{:03d}.ckpt'])
@pytest.mark.parametrize(
    'by_config, named',
    [(True, 'its own'), (True, 'moved'), (True, None), (False, 'its own')],
)
@pytest.mark.parametrize('place', ['big', 'w'])
def test_a_run_resumes_from_the_folder_of_its_checkpoints(
    tmp_path, monkeypatch, template, named, by_config, place
):
    """Of the config, or of ``last_checkpoint`` if the config has none."""
    monkeypatch.chdir(tmp_path)
    hook = dict(out_dir=place, filename_tmpl=template)
    cfg = Config(dict(work_dir='w'))
    if by_config:
        cfg.default_hooks = dict(checkpoint=hook)
    folder = Path(place, 'w')
    folder.mkdir(parents=True)
    Path('w').mkdir(exist_ok=True)
    for epoch in (1, 2):
        path = folder / template.format(epoch)
        torch.save(dict(meta=dict(iter=epoch)), path)
    if named:
        last = path if named == 'its own' else Path('moved/w', path.name)
        Path('w/last_checkpoint').write_text(str(last))
    launch.resume(cfg, 'auto')
    assert cfg.load_from == str(path)


@pytest.mark.parametrize(
    'config, problem',
    [
        (dict(), 'there is no checkpoint lost.pth'),
        (dict(strategy=dict(type='DeepSpeedStrategy')), 'cannot be resumed'),
        (dict(strategy=dict(type='mmengine.DeepSpeedStrategy')), 'cannot be'),
    ],
)
@pytest.mark.parametrize('by_config', [False, True])
def test_what_cannot_be_resumed_is_refused(config, problem, by_config):
    cfg = Config(
        dict(config, work_dir='w', resume=by_config, load_from='lost.pth')
    )
    with pytest.raises(UsageError, match=problem):
        launch.resume(cfg, None if by_config else 'lost.pth')


def test_deepspeed_starts_from_the_weights_of_a_file(tmp_path, monkeypatch):
    """Its engine would look for a folder of that name."""
    cfg = Config.fromfile(CONFIGS / 'toy/cast_toy.py')
    for expert in cfg.model.backbone.experts.values():
        expert.pop('init_cfg', None)
    weights = MODELS.build(cfg.model).state_dict()
    cfg.load_from = str(tmp_path / 'interrupted.pth')
    torch.save(dict(state_dict=weights, meta={}), cfg.load_from)
    cfg.update(work_dir=str(tmp_path), runner_type='FlexibleRunner')
    cfg.strategy = dict(type='SingleDeviceStrategy')  # DeepSpeed needs its own
    monkeypatch.setattr(launch, 'is_deepspeed', lambda cfg: True)
    runner = launch.build_runner(cfg)
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    runner.load_or_resume()  # has nothing left to do


def test_an_error_of_the_system_that_names_no_file_is_told(capsys):
    """It ended in "error: None: ..."."""

    def main():
        raise OSError(errno.ETIMEDOUT, 'took too long')

    with pytest.raises(SystemExit):
        launch.run_or_explain(main, TimeoutError)
    said = capsys.readouterr().err
    assert 'took too long' in said and 'None' not in said
