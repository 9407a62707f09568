# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Signals end a run after its step; one run at a time in a work folder."""

import errno
import os
import signal
import subprocess
import sys

import pytest
from mmengine.hooks import Hook
from test_interruptions import Run as PlainRun
from test_interruptions import assert_same_end, config_of, resumed

from ca2st_mm.checkpoints.files import read_checkpoint
from ca2st_mm.engine import UsageError
from ca2st_mm.engine.interruption import (
    INTERRUPTED,
    LOCK,
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
    assert stopped.value.status == 128 + signum
    assert f'{folder}/{INTERRUPTED}' in str(stopped.value)
    assert signal.getsignal(signum) is before_handlers
    sends.signals = ()
    after = resumed(config, folder).go()
    assert min(after.losses.values) == first
    (folder / INTERRUPTED).unlink()
    assert_same_end(after, unbroken)
    assert {**before.scores, **after.scores} == unbroken.scores


def test_an_interrupted_run_of_deepspeed_is_not_sent_to_resume(
    whole, tmp_path
):
    sends = Sends('before_train_iter', 4, signal.SIGUSR1)
    strategy = dict(cfg=dict(strategy=dict(type='DeepSpeedStrategy')))
    run = Run(dict(whole[0], custom_hooks=[sends], **strategy), tmp_path)
    with pytest.raises(Interrupted) as stopped:
        run.go()
    assert f'load_from={tmp_path}/{INTERRUPTED}' in str(stopped.value)
    assert '--resume' not in str(stopped.value)
    assert stopped.value.status == 1  # Slurm's script queues 138 again
    assert 'optimizer' not in read_checkpoint(tmp_path / INTERRUPTED)


def test_a_second_interrupt_ends_at_once(whole, tmp_path):
    sends = Sends('before_train_iter', 4, signal.SIGINT, signal.SIGINT)
    run = Run(dict(whole[0], custom_hooks=[sends]), tmp_path)
    with pytest.raises(KeyboardInterrupt) as stopped:
        run.go()
    assert not isinstance(stopped.value, Interrupted)
    assert not (tmp_path / INTERRUPTED).exists()


# As another process locks the file, before it writes whose it is; imports
# nothing of ours, which takes long.
LOCKS = """
import fcntl, sys, time
with open(sys.argv[1], 'a') as file:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print('held', flush=True)
    time.sleep(60)
"""


def test_a_second_run_in_a_folder_is_noticed_while_the_first_lives(tmp_path):
    path = tmp_path / LOCK
    other = [sys.executable, '-c', LOCKS, str(path)]
    with only_run_in(tmp_path):
        done = subprocess.run(other, stderr=subprocess.PIPE, text=True)
        assert 'BlockingIOError' in done.stderr
        assert path.read_text().startswith(f'process {os.getpid()} on ')
    path.unlink()
    with subprocess.Popen(other, stdout=subprocess.PIPE, text=True) as first:
        try:
            assert first.stdout.readline() == 'held\n'
            with pytest.raises(UsageError, match='in use by another run;'):
                with only_run_in(tmp_path):
                    pass
        finally:
            first.kill()
    with only_run_in(tmp_path):  # its file is there, its lock is not
        assert path.read_text().startswith(f'process {os.getpid()} on ')


def test_a_disk_without_locks_is_told(tmp_path, monkeypatch):
    def lockf(file, how):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr('fcntl.lockf', lockf)
    with pytest.warns(UserWarning, match='No locks available'):
        with only_run_in(tmp_path):
            pass
