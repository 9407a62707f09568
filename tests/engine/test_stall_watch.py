# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A run that makes no progress says which rank waits, where and for what."""

import os
import re
import sys
import threading
import time
from pathlib import Path

import pytest
from mmaction.evaluation import AccMetric
from mmengine.runner import runner as runner_module
from runs import Losses, train
from stalls import SlowStep, stalling_run

from ca2st_mm.engine import StallWatchHook

PATIENCE, WAIT = 0.1, 0.4


def threads():
    return [t for t in threading.enumerate() if t.name == 'StallWatch']


def log_of(runner):
    [path] = Path(runner.log_dir).glob('*.log')
    return path.read_text()


def lines_about(text, stage):
    return re.findall(rf'Rank \d+ .*has been {stage}.* for .*', text)


class SlowMetric(AccMetric):
    def compute_metrics(self, results):
        time.sleep(WAIT)
        return dict(done=1.0)


@pytest.fixture(scope='module')
def stalled(tmp_path_factory):
    """Log and stacks of one run that stalls wherever it can."""
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
    config['model'].cls_head.register_forward_pre_hook(
        SlowStep(1, False, WAIT)
    )
    config['val_evaluator'] = [SlowMetric()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner_module, 'save_checkpoint', slow_save)
        runner, _ = train(config)
    assert threads() == []
    [stacks] = Path(runner.log_dir).glob('stall_rank0.txt')
    return log_of(runner), stacks.read_text()


@pytest.mark.parametrize(
    ('stage', 'function'),
    [
        ('after training batch 1', '__getitem__'),
        ('in training batch 3', '__call__'),
        ('saving a checkpoint', 'slow_save'),
        ('in validation batch 1', '__call__'),
        ('after validation batch 2', '__getitem__'),
        ('after validation batch 3', 'compute_metrics'),
    ],
)
def test_one_line_names_rank_stage_and_place(stalled, stage, function):
    log, stacks = stalled
    line, *_ = lines_about(log, stage)
    assert line.startswith(f'Rank 0 (process {os.getpid()} on ')
    assert f'in {function} ' in line
    # The stacks of faulthandler, which needs no interpreter.
    assert f'in {function}' in stacks and 'most recent call first' in stacks


def test_a_test_is_watched_too(tmp_path):
    config = stalling_run(tmp_path, PATIENCE, judged=[1], wait=WAIT)
    runner, _ = train(config)
    before = len(log_of(runner))
    runner._test_loop = dict(type='TestLoop')
    runner._test_dataloader = config['val_dataloader']
    runner._test_evaluator = config['val_evaluator']
    runner.test()
    assert threads() == []
    said = log_of(runner)[before:]
    assert lines_about(said, 'after test batch 1')


@pytest.mark.parametrize('kill_at', [1, 2])
def test_the_watch_ends_with_a_run_that_raises(tmp_path, kill_at):
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
    assert not list(tmp_path.rglob('stall_*'))  # there was nothing to say
    del raised  # held the frames of the run until here


def test_a_frame_without_a_caller_does_not_end_the_watch(
    tmp_path, monkeypatch
):
    """A generator that has yielded has none; the run was taken for ended."""
    generator = (letter for letter in 'ab')
    next(generator)
    frames = {threading.get_ident(): generator.gi_frame}
    alive = []

    class Look(Losses):
        def after_train_iter(self, runner, *args, **kwargs):
            with monkeypatch.context() as patch:
                patch.setattr(sys, '_current_frames', lambda: frames)
                time.sleep(WAIT)
            alive.append(len(threads()))

    train(stalling_run(tmp_path, PATIENCE), Look())
    assert min(alive) == max(alive) > 0


def test_minutes_must_be_positive():
    StallWatchHook(1e6, 1e6)
    for minutes in (0, -1, float('nan')):
        for name in ('minutes', 'end_minutes'):
            with pytest.raises(ValueError, match='more than 0'):
                StallWatchHook(**{name: minutes})
