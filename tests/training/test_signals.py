# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Signals end a run after its step; one run at a time in a work folder."""

import json
import os
import signal
import socket

import pytest
from mmengine.hooks import Hook
from test_interruptions import Run as PlainRun
from test_interruptions import assert_same_end, config_of, resumed

from ca2st_mm.engine import UsageError, interruption
from ca2st_mm.engine.interruption import (
    INTERRUPTED,
    Interrupted,
    InterruptionHook,
    only_run_in,
)


class Sends(Hook):
    """Sends this process signals at an event of an iteration."""

    def __init__(self, event, iteration, *signals):
        self.iteration, self.signals = iteration, signals
        setattr(self, event, self.send)

    def send(self, runner, *args, **kwargs):
        if runner.iter == self.iteration:
            for signum in self.signals:
                os.kill(os.getpid(), signum)


class Run(PlainRun):
    """A run that signals may end."""

    def go(self):
        interruption = InterruptionHook()
        self.arguments['custom_hooks'].append(interruption)
        with interruption:
            return super().go()


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    config = config_of('less')
    return config, PlainRun(config, tmp_path_factory.mktemp('whole')).go()


# Epochs of four iterations, two to a step, counted from 0.
@pytest.mark.parametrize(
    'event, iteration, signum, workers, first',
    [
        ('before_train_iter', 4, signal.SIGTERM, 0, 6),
        pytest.param(
            *('before_train_iter', 4, signal.SIGTERM, 1, 6),
            marks=pytest.mark.slow,
        ),
        ('after_train_iter', 7, signal.SIGUSR1, 0, 8),
        ('before_val_iter', 8, signal.SIGINT, 0, 8),
    ],
    ids=['within an epoch', 'with a worker', 'at its end', 'in validation'],
)
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    whole, tmp_path, event, iteration, signum, workers, first
):
    config, unbroken = whole
    before_handlers = signal.getsignal(signum)
    if workers:
        config = dict(
            config, train_dataloader=dict(config['train_dataloader'])
        )
        config['train_dataloader']['num_workers'] = workers
        unbroken = PlainRun(config, tmp_path / 'whole').go()
    folder = tmp_path / 'broken'
    sends = Sends(event, iteration, signum)
    config = dict(config, custom_hooks=[sends])
    before = Run(config, folder)
    with pytest.raises(Interrupted) as stopped:
        before.go()
    assert stopped.value.signum == signum
    assert f'{folder}/{INTERRUPTED}' in str(stopped.value)
    assert signal.getsignal(signum) is before_handlers
    sends.signals = ()
    after = resumed(config, folder).go()
    assert min(after.losses.values) == first
    (folder / INTERRUPTED).unlink()
    assert_same_end(after, unbroken)
    assert {**before.scores, **after.scores} == unbroken.scores


def test_a_second_interrupt_ends_at_once(whole, tmp_path):
    sends = Sends('before_train_iter', 4, signal.SIGINT, signal.SIGINT)
    run = Run(dict(whole[0], custom_hooks=[sends]), tmp_path)
    with pytest.raises(KeyboardInterrupt) as stopped:
        run.go()
    assert not isinstance(stopped.value, Interrupted)
    assert not (tmp_path / INTERRUPTED).exists()


def lock(folder, **changes):
    holder = dict(host=socket.gethostname(), pid=1, job=None, since='today')
    path = folder / interruption.LOCK
    path.write_text(json.dumps(holder | changes))
    return path


def test_two_runs_in_one_folder_are_noticed(tmp_path):
    lock(tmp_path)  # process 1 is always there
    with pytest.raises(UsageError, match='process 1 on .* since today'):
        with only_run_in(tmp_path):
            pass
    lock(tmp_path, host='elsewhere')
    with pytest.raises(UsageError, match='on elsewhere'):
        with only_run_in(tmp_path):
            pass


@pytest.mark.parametrize(
    'case', ['dead', 'cut', 'silent', 'same job', 'same process']
)
def test_a_lock_of_a_run_that_is_gone_is_taken_over(
    tmp_path, monkeypatch, case
):
    path = lock(tmp_path)
    if case == 'dead':
        lock(tmp_path, pid=2**22 + 1)  # more than Linux gives out
    elif case == 'cut':
        path.write_text('{')
    elif case == 'silent':
        lock(tmp_path, host='elsewhere')
        os.utime(path, (1, 1))
    elif case == 'same job':
        lock(tmp_path, host='elsewhere', job='7')
        monkeypatch.setenv('SLURM_JOB_ID', '7')
    else:
        lock(tmp_path, pid=os.getpid())
    with only_run_in(tmp_path):
        assert json.loads(path.read_text())['pid'] == os.getpid()
    assert not path.exists()
