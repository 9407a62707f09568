# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A run that stands still says which rank waits, where and for what."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mmaction.evaluation import AccMetric
from mmengine.config import Config
from mmengine.runner import runner as runner_module
from runs import CONFIGS, Losses, train
from stalls import SlowStep, stalling_run
from test_two_processes import ROOT

from ca2st_mm.engine import StallWatchHook
from ca2st_mm.models.necks import BottleneckCrossAttention

PATIENCE, WAIT = 0.2, 0.6
SCRIPT = Path(__file__).with_name('two_stalled.py')


def threads():
    return [t for t in threading.enumerate() if t.name == 'StallWatch']


def log_of(runner):
    [path] = Path(runner.log_dir).glob('*.log')
    return path.read_text()


def warnings_of(text, stage):
    """What was said of a stage, each with the stack below it."""
    said = re.split(r'(?=Rank \d+ \(process )', text)
    return [part for part in said if f'has been {stage} for' in part]


class SlowMetric(AccMetric):
    def compute_metrics(self, results):
        time.sleep(WAIT)
        return dict(done=1.0)


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    """Log of one run that stalls wherever it can."""
    folder = tmp_path_factory.mktemp('stalls')
    save = runner_module.save_checkpoint

    def slow_save(*args, **kwargs):
        time.sleep(WAIT)
        save(*args, **kwargs)

    config = stalling_run(
        folder,
        PATIENCE,
        slow=[1],
        judged=[2],
        step=SlowStep(3, True, WAIT),
        wait=WAIT,
    )
    link = next(
        module
        for module in config['model'].modules()
        if isinstance(module, BottleneckCrossAttention)
    )
    link.register_forward_pre_hook(SlowStep(1, False, WAIT))
    config['val_evaluator'] = [SlowMetric()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner_module, 'save_checkpoint', slow_save)
        runner, _ = train(config)
    assert threads() == []
    return log_of(runner)


@pytest.mark.parametrize(
    ('stage', 'function', 'look'),
    [
        ('waiting for batch 2 of epoch 1', '__getitem__', 'data workers'),
        (
            'in training step 3 of epoch 1 or a hook after it',
            '__call__',
            'how busy the device is',
        ),
        ('saving a checkpoint', 'slow_save', 'full or slow'),
        ('in validation batch 1 of 3', '__call__', 'need not be a fault'),
        ('waiting for validation batch 3 of 3', '__getitem__', 'the disk'),
        (
            'computing the metrics of the validation',
            'compute_metrics',
            'answers of all ranks',
        ),
    ],
)
def test_the_warning_names_rank_stage_and_frame(log, stage, function, look):
    first, *_ = warnings_of(log, stage)
    assert first.startswith(f'Rank 0 (process {os.getpid()} on ')
    assert look in first
    # The innermost frame of the stack.
    assert f'in {function}\n    time.sleep(' in first
    assert 'WARNING' in log and 'ERROR' not in log


def test_the_stack_begins_with_the_run_and_skips_what_all_pass(log):
    [first, *_] = warnings_of(log, 'in validation batch 1 of 3')
    assert 'ca2st_mm/models/backbones/multi_expert.py' in first
    assert 'in test_' not in first and '_pytest' not in first
    frames = re.findall(r'File "(.*?)"', first)
    assert sum('mmengine' in path for path in frames) <= 5


def test_a_test_is_watched(tmp_path):
    config = stalling_run(tmp_path, PATIENCE, judged=[1], wait=WAIT)
    runner, _ = train(config)
    before = len(log_of(runner))
    runner._test_loop = dict(type='TestLoop')
    runner._test_dataloader = config['val_dataloader']
    runner._test_evaluator = config['val_evaluator']
    runner.test()
    assert threads() == []
    said = log_of(runner)[before:]
    assert warnings_of(said, 'waiting for test batch 2 of 3')


def test_a_loop_without_epochs_names_none(tmp_path):
    step = SlowStep(1, True, WAIT)
    config = stalling_run(tmp_path, PATIENCE, slow=[1], step=step, wait=WAIT)
    config.update(
        train_cfg=dict(by_epoch=False, max_iters=3),
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
        param_scheduler=None,
    )
    runner, _ = train(config)
    said = log_of(runner)
    first = 'in the first training step (compiling, building kernels)'
    assert warnings_of(said, first)
    assert warnings_of(said, 'waiting for batch 2')


def test_nothing_is_said_while_stages_end(tmp_path):
    """A run longer than the patience, of stages that are shorter."""
    patience, wait = 1.5, 0.3
    config = stalling_run(
        tmp_path, patience, slow=[0, 1, 2], judged=[0, 1, 2], wait=wait
    )
    start = time.monotonic()
    runner, _ = train(config)
    assert time.monotonic() - start > patience
    assert 'Rank' not in log_of(runner)
    assert threads() == []


@pytest.mark.parametrize('kill_at', [1, 2])
def test_the_thread_ends_with_a_run_that_raises(tmp_path, kill_at):
    seen = []

    class Kill(Losses):
        def after_train_iter(self, runner, *args, **kwargs):
            seen.extend(threads())
            super().after_train_iter(runner, *args, **kwargs)

    config = stalling_run(tmp_path, 5.0)
    with pytest.raises(KeyboardInterrupt) as raised:
        train(config, Kill(kill_at))
    assert seen and all(thread.daemon for thread in seen)
    for thread in seen:
        thread.join(timeout=10)
    assert threads() == []
    del raised  # held the frames of the run until here


def test_minutes_must_be_positive():
    StallWatchHook(1e9)
    for minutes in (0, -1, float('nan')):
        with pytest.raises(ValueError, match='more than 0'):
            StallWatchHook(minutes)


def test_every_recipe_is_watched_and_before_nccl_gives_up():
    cfg = Config.fromfile(CONFIGS / 'ca2st/ca2st_k400.py')
    hook = cfg.default_hooks.stall_watch
    assert hook.type == 'StallWatchHook' and hook.minutes < 10


def free_port():
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


def test_each_of_two_processes_says_where_it_waits(tmp_path):
    env = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / 'tests/models')]),
        OMP_NUM_THREADS='1',
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(free_port()),
    )
    running = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(tmp_path)],
            env=dict(env, RANK=str(rank), LOCAL_RANK=str(rank)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    # One that hangs fails.
    first, second = (p.communicate(timeout=120)[0] for p in running)
    assert [p.returncode for p in running] == [0, 0], first + second
    [step, *_] = warnings_of(
        first, 'in training step 2 of epoch 1 or a hook after it'
    )
    [data, *_] = warnings_of(second, 'waiting for batch 2 of epoch 1')
    assert step.startswith('Rank 0') and 'torch/nn/parallel/' in step
    assert data.startswith('Rank 1') and 'in __getitem__' in data
    assert 'the one at another stage holds them up' in step
