# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A run that makes no progress says which rank waits, where and for what."""

import os
import re
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models as tiny
from mmaction.evaluation import AccMetric
from mmengine.runner import runner as runner_module
from runs import (
    Losses,
    SlowClips,
    loader,
    recipe,
    tiny_model,
    train,
    watched,
)

from ca2st_mm.engine import stall_watch

PATIENCE = 0.3
SLOW = re.compile(r'now in (__getitem__|__call__|slow_save|compute_metrics) ')
TOLD = threading.Lock()  # held until a line says where the run waits
TOLD.acquire()
# Both written in C, so that the caller is the place that the line names.
wait = partial(TOLD.acquire, timeout=60)


@pytest.fixture(scope='module', autouse=True)
def told():
    """Have what is slow go on as soon as the watch has said so."""
    say = stall_watch._warn

    def warn(logger, text):
        say(logger, text)
        if SLOW.search(text) and TOLD.locked():
            TOLD.release()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stall_watch, '_warn', warn)
        yield


class SlowStep:
    """Has a module wait in one of its calls; a forward pre-hook."""

    def __init__(self, call, training):
        self.call, self.training, self.calls = call, training, 0

    def __call__(self, module, inputs):
        if module.training is self.training:
            self.calls += 1
            if self.calls == self.call:
                wait()


def run_of(folder, patience, slow=(), judged=(), steps=()):
    """Settings of a run of three batches, and a validation after them.

    ``slow`` and ``judged`` name the clips that take long to read, in training
    and in validation.
    """
    inputs, labels = dict(imgs=tiny.video(3)), [0, 1, 2]
    model = tiny_model(tiny.CAST, inputs)
    for step in steps:
        model.cls_head.register_forward_pre_hook(step)
    return dict(
        recipe(1, warmup=0),
        model=model,
        train_dataloader=loader(SlowClips(inputs, labels, slow, wait), 1),
        val_dataloader=loader(SlowClips(inputs, labels, judged, wait), 1),
        val_cfg=dict(),
        val_evaluator=dict(type='ClipAccMetric', topk=(1,)),
        custom_hooks=[watched(patience)],
        work_dir=str(folder),
        randomness=dict(seed=0),
    )


def threads():
    return [t for t in threading.enumerate() if t.name == 'StallWatch']


def log_of(runner):
    [path] = Path(runner.log_dir).glob('*.log')
    return path.read_text()


def lines_about(text, stage):
    return re.findall(rf'Rank \d+ .*has been {stage}.* for .*', text)


class SlowMetric(AccMetric):
    def compute_metrics(self, results):
        wait()
        return dict(done=1.0)


@pytest.fixture(scope='module')
def stalled(tmp_path_factory):
    """Log and stacks of one run that stalls wherever it can."""
    folder = tmp_path_factory.mktemp('stalls')
    save = runner_module.save_checkpoint

    def slow_save(*args, **kwargs):
        wait()
        save(*args, **kwargs)

    steps = SlowStep(3, training=True), SlowStep(1, training=False)
    config = run_of(folder, PATIENCE, slow=[1], judged=[2], steps=steps)
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


def test_the_watch_ends_with_a_run_that_raises(tmp_path):
    seen = []

    class Kill(Losses):
        def after_train_iter(self, runner, *args, **kwargs):
            seen.extend(threads())
            super().after_train_iter(runner, *args, **kwargs)

    with pytest.raises(KeyboardInterrupt) as raised:
        train(run_of(tmp_path, 5.0), Kill(kill_at=1))
    assert seen and all(thread.daemon for thread in seen)
    for thread in seen:
        thread.join(timeout=10)
    assert threads() == []
    assert not list(tmp_path.rglob('stall_*'))  # there was nothing to say
    del raised  # held the frames of the run until here


def test_a_process_that_was_stopped_gets_its_time_back(tmp_path, monkeypatch):
    """Its clock went on for a day."""
    ended, ahead = [], [0.0]
    # The clock of the watch alone: event loops of other threads go on.
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0])
    monkeypatch.setattr(stall_watch, 'time', clock)
    monkeypatch.setattr(os, '_exit', ended.append)

    def stopped(module, inputs):
        ahead[0] += 86400
        time.sleep(0.3)  # the watch looks several times

    config = run_of(tmp_path, 0.2, steps=[stopped])
    runner, _ = train(config)
    assert 'day' not in ''.join(lines_about(log_of(runner), '')) and not ended


def test_a_test_is_watched_too(tmp_path):
    config = run_of(tmp_path, PATIENCE, judged=[1])
    runner, _ = train(config)
    before = len(log_of(runner))
    runner._test_loop = dict(type='TestLoop')
    runner._test_dataloader = config['val_dataloader']
    runner._test_evaluator = config['val_evaluator']
    runner.test()
    assert threads() == []
    said = log_of(runner)[before:]
    assert lines_about(said, 'after test batch 1')
