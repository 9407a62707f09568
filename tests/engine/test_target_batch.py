# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A total batch is reached on any number of processes, or refused."""

from pathlib import Path

import pytest
from mmengine.config import Config

from ca2st_mm.engine.launch import UsageError
from ca2st_mm.engine.target_batch import set_target_batch

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.fixture
def cfg():
    cfg = Config.fromfile(CONFIGS / 'ca2st' / 'ca2st_k400.py')
    cfg.launcher = 'none'
    return cfg


@pytest.mark.parametrize(
    ('launcher', 'variable', 'processes'),
    [
        ('pytorch', 'WORLD_SIZE', 4),
        ('slurm', 'SLURM_NTASKS', 16),
        ('mpi', 'OMPI_COMM_WORLD_SIZE', 2),
    ],
)
def test_micro_batches_make_up_for_processes(
    cfg, monkeypatch, launcher, variable, processes
):
    monkeypatch.setenv(variable, str(processes))
    cfg.launcher = launcher
    set_target_batch(cfg, 576)
    loader = cfg.train_dataloader
    at_once = loader.batch_size * processes
    assert cfg.optim_wrapper.accumulative_counts * at_once == 576
    # An epoch still ends with a whole step.
    assert loader.sampler.clips_per_step * processes == 576


def test_one_process_unless_a_launcher_started_more(cfg, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '4')
    set_target_batch(cfg, 576)
    assert cfg.optim_wrapper.accumulative_counts == 96


def test_clips_at_once_are_the_users_choice(cfg):
    cfg.train_dataloader.batch_size = 2
    set_target_batch(cfg, 64)
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.optim_wrapper.accumulative_counts == 32
    assert cfg.train_dataloader.sampler.clips_per_step == 64


def test_deepspeed_accumulates_by_itself(cfg):
    strategies = CONFIGS / '_base_' / 'strategies'
    cfg.strategy = Config.fromfile(strategies / 'deepspeed_zero2.py').strategy
    cfg.optim_wrapper.pop('accumulative_counts')
    set_target_batch(cfg, 24)
    assert cfg.strategy.gradient_accumulation_steps == 4
    assert 'accumulative_counts' not in cfg.optim_wrapper


@pytest.mark.parametrize(
    ('clips', 'cure'), [(100, '96 or 102'), (4, '6,'), (0, '6,'), (-8, '6,')]
)
def test_a_batch_that_cannot_be_made(cfg, clips, cure):
    with pytest.raises(UsageError, match=f'{clips} cannot .*{cure}'):
        set_target_batch(cfg, clips)


def test_configs_without_our_sampler_get_whole_steps_too(cfg, capsys):
    cfg.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
    cfg.strategy = None
    set_target_batch(cfg, 24)
    sampler = dict(type='WholeStepSampler', shuffle=True, clips_per_step=24)
    assert cfg.train_dataloader.sampler == sampler
    assert capsys.readouterr().out == ''


def test_a_rate_that_does_not_follow_is_told(cfg, capsys):
    cfg.custom_hooks = [dict(type='EMAHook')]
    cfg.default_hooks.pop('linear_scaling')
    set_target_batch(cfg, 24)
    assert (
        "linear_scaling=dict(type='LinearScalingHook'"
        in capsys.readouterr().out
    )
