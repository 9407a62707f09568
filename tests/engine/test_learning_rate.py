# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The learning rate follows the step and the effective batch size."""

import copy
import logging
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from torch import nn

from ca2st_mm.datasets import WholeStepSampler
from ca2st_mm.engine import LinearScalingHook, WarmupCosineLR
from ca2st_mm.engine.launch import UsageError
from ca2st_mm.engine.learning_rate import (
    ScheduleFromConfigHook,
    set_effective_batch_size,
)

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def wrapper_of(steps=1, rates=(1.0,)):
    groups = [
        dict(params=[nn.Parameter(torch.zeros(1))], lr=lr) for lr in rates
    ]
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    return OptimWrapper(optimizer, accumulative_counts=steps)


def accumulating_elsewhere(steps):
    """Like MMEngine's wrapper for DeepSpeed, which asks an engine to step."""
    wrapper = wrapper_of()
    wrapper._model = SimpleNamespace(gradient_accumulation_steps=lambda: steps)
    return wrapper


def walk(wrapper, iterations, **schedule):
    """The learning rate of the first group in every iteration."""
    scheduler = WarmupCosineLR(wrapper, end=iterations, **schedule)
    rates = []
    for _ in range(iterations):
        rates.append(wrapper.optimizer.param_groups[0]['lr'])
        wrapper.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize('wrapper', [wrapper_of, accumulating_elsewhere])
def test_micro_batches_of_a_step_share_its_learning_rate(wrapper):
    once = walk(wrapper_of(), 20, warmup=5, min_ratio=0.01)
    often = walk(wrapper(3), 60, warmup=15, min_ratio=0.01)
    assert often[::3] == often[1::3] == often[2::3] == once


@pytest.mark.parametrize(
    'schedule, words',
    [
        (dict(end=5, warmup=5), 'warm-up has to end'),
        (dict(end=5, by_epoch=True), 'convert_to_iter_based=True'),
    ],
)
def test_schedules_that_cannot_be(schedule, words):
    with pytest.raises(ValueError, match=words):
        WarmupCosineLR(wrapper_of(), **schedule)


def runner_of(wrapper, clips=6, processes=16, batches=8, scaled=False):
    class Loader(SimpleNamespace):
        def __len__(self):
            return batches

    return SimpleNamespace(
        optim_wrapper=wrapper,
        param_schedulers=[WarmupCosineLR(wrapper, end=8)],
        cfg=dict(auto_scale_lr=dict(enable=scaled)),
        train_dataloader=Loader(
            batch_sampler=SimpleNamespace(batch_size=clips)
        ),
        world_size=processes,
        logger=logging.getLogger('scaling'),
    )


def scale(runner, recipe=None):
    LinearScalingHook(recipe_batch_size=recipe).before_train(runner)


def test_accumulated_clips_count():
    wrapper = wrapper_of(steps=4, rates=(1e-3, 5e-4))
    runner = runner_of(wrapper)
    scale(runner)
    # 6 x 16 x 4 = 384 clips: the authors' 1e-3 becomes 1.5e-3.
    for key in ('lr', 'initial_lr'):
        found = [group[key] for group in wrapper.optimizer.param_groups]
        assert found == pytest.approx([1.5e-3, 7.5e-4]), key
    schedule = runner.param_schedulers[0]
    assert schedule.base_values[:2] == pytest.approx([1.5e-3, 7.5e-4])


@pytest.mark.parametrize(
    'wrapper, processes, recipe, told, warned',
    [
        (wrapper_of(4), 16, 384, '16 processes x 4 .*recipe: 384', ''),
        (wrapper_of(4), 1, 384, '24: 6 clips x 1 proc', 'not be reached'),
        (wrapper_of(3), 16, None, '288: ', 'Sampler with clips_per_step=18'),
    ],
)
def test_the_effective_batch_size_is_told(
    wrapper, processes, recipe, told, warned, caplog
):
    caplog.set_level('INFO')
    scale(runner_of(wrapper, processes=processes), recipe)
    assert re.search(told, caplog.text)
    warnings = [r.message for r in caplog.records if r.levelname == 'WARNING']
    assert len(warnings) == bool(warned) and warned in ''.join(warnings)


def test_scaling_twice_is_refused():
    with pytest.raises(ValueError, match='scaled twice'):
        scale(runner_of(wrapper_of(), scaled=True))


@pytest.mark.parametrize('steps, ratio', [(4, 1), (2, 0.5)])
def test_learning_rates_of_a_checkpoint_follow_its_batch(caplog, steps, ratio):
    """The same one scales nothing again, another one by the ratio."""
    old, new = (runner_of(wrapper_of(steps=n)) for n in (4, steps))
    scale(old)
    new.optim_wrapper.load_state_dict(
        copy.deepcopy(old.optim_wrapper.state_dict())
    )
    new.param_schedulers[0].load_state_dict(
        old.param_schedulers[0].state_dict()
    )
    caplog.clear()
    for _ in range(2):
        scale(new)
    for was, now in zip(
        old.optim_wrapper.param_groups,
        new.optim_wrapper.param_groups,
        strict=True,
    ):
        for key in ('lr', 'initial_lr'):
            assert now[key] == pytest.approx(was[key] * ratio), key
    assert new.param_schedulers[0].base_values == pytest.approx(
        [value * ratio for value in old.param_schedulers[0].base_values]
    )
    told = caplog.text.count('batch size of 384; they follow the new')
    assert told == (ratio != 1)


def sampled(monkeypatch, rank, world, **options):
    monkeypatch.setattr(
        'mmengine.dataset.sampler.get_dist_info', lambda: (rank, world)
    )
    return WholeStepSampler(range(23), seed=1, **options)


def test_only_whole_steps_are_drawn(monkeypatch):
    parts = [
        sampled(monkeypatch, rank, 2, clips_per_step=4) for rank in (0, 1)
    ]
    drawn = [list(part) for part in parts]
    assert [len(d) for d in drawn] == [len(p) for p in parts] == [8, 8]
    assert len(set(drawn[0] + drawn[1])) == 16
    for part in parts:
        part.set_epoch(1)
    others = set(list(parts[0]) + list(parts[1]))
    assert others != set(drawn[0] + drawn[1])


@pytest.fixture
def cfg():
    cfg = Config.fromfile(CONFIGS / 'ca2st' / 'ca2st_k400.py')
    cfg.launcher = 'none'
    return cfg


@pytest.mark.parametrize(
    'launcher, variable, processes',
    [
        ('pytorch', 'WORLD_SIZE', 4),
        ('slurm', 'SLURM_NTASKS', 16),
        ('mpi', 'OMPI_COMM_WORLD_SIZE', 2),
        ('none', 'WORLD_SIZE', 1),  # what it says does not count
    ],
)
def test_micro_batches_make_up_for_processes(
    cfg, monkeypatch, launcher, variable, processes
):
    monkeypatch.setenv(variable, str(processes if launcher != 'none' else 4))
    cfg.launcher = launcher
    set_effective_batch_size(cfg, 576)
    loader = cfg.train_dataloader
    at_once = loader.batch_size * processes
    assert cfg.optim_wrapper.accumulative_counts * at_once == 576
    # An epoch still ends with a whole step.
    assert loader.sampler.clips_per_step * processes == 576


def test_deepspeed_accumulates_by_itself(cfg):
    strategies = CONFIGS / '_base_' / 'strategies'
    cfg.strategy = Config.fromfile(strategies / 'deepspeed_zero2.py').strategy
    cfg.optim_wrapper.pop('accumulative_counts')
    set_effective_batch_size(cfg, 24)
    assert cfg.strategy.gradient_accumulation_steps == 4
    assert 'accumulative_counts' not in cfg.optim_wrapper


@pytest.mark.parametrize(
    ('clips', 'advice'), [(100, '96 or 102'), (4, '6,'), (0, '6,'), (-8, '6,')]
)
def test_a_batch_that_cannot_be_made(cfg, clips, advice):
    with pytest.raises(UsageError, match=f'{clips} cannot .*{advice}'):
        set_effective_batch_size(cfg, clips)


def test_configs_without_our_sampler_get_whole_steps_too(cfg, capsys):
    cfg.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
    cfg.strategy = None
    set_effective_batch_size(cfg, 24)
    sampler = dict(type='WholeStepSampler', shuffle=True, clips_per_step=24)
    assert cfg.train_dataloader.sampler == sampler
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize('resume', [True, False])
def test_other_parameter_groups_are_not_resumed(resume):
    weights = [torch.zeros(1), torch.zeros(1)]
    wrapper = OptimWrapper(torch.optim.SGD(weights, lr=0.1))
    two = torch.optim.SGD([dict(params=[w]) for w in weights], lr=0.1)
    runner = SimpleNamespace(
        optim_wrapper=wrapper, param_schedulers=[], _resume=resume
    )
    refused = pytest.raises(ValueError, match='2 parameter groups .* makes 1')
    with refused if resume else nullcontext():
        ScheduleFromConfigHook().after_load_checkpoint(
            runner, dict(optimizer=two.state_dict())
        )


def test_too_few_clips_are_named(monkeypatch):
    with pytest.raises(ValueError, match='do not fill one step of 12 clips'):
        sampled(monkeypatch, 0, 2, clips_per_step=12)


def test_a_learning_rate_that_does_not_follow_is_told(cfg, capsys):
    cfg.custom_hooks = [dict(type='EMAHook')]
    cfg.default_hooks.pop('linear_scaling')
    set_effective_batch_size(cfg, 24)
    assert (
        "linear_scaling=dict(type='LinearScalingHook'"
        in capsys.readouterr().out
    )
