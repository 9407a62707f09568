# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Runs that draw all they can, ended at any moment and resumed.

By a kill, which leaves what was saved before, or by a signal.
"""

import copy
import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, FlexibleRunner
from runs import EPOCHS, PER_EPOCH, Losses, shaken_config, train

from ca2st_mm.checkpoints.files import read_checkpoint
from ca2st_mm.engine import UsageError
from ca2st_mm.engine.checkpointing import (
    AtomicLocalBackend,
    last_whole_checkpoint,
)
from ca2st_mm.engine.interruption import (
    INTERRUPTED,
    LOCK,
    Interrupted,
    InterruptionHook,
    only_run_in,
)

EVENTS = dict(
    training='after_train_iter',
    between='before_val',
    within='after_val_iter',
    after='before_train_epoch',
)


class Killed(BaseException):
    """Nothing catches it."""


class MeanScore(BaseMetric):
    """Of the true class; it moves with every random number that is drawn."""

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            score = sample['pred_score'][sample['gt_label']]
            self.results.append(score.item())

    def compute_metrics(self, results):
        return dict(score=sum(results) / len(results))


class Falls(MeanScore):
    """Each validation is the best so far."""

    def compute_metrics(self, results):
        return dict(score=-1.0)


class Watcher(Hook):
    """Remembers the scores by epoch; may stop the run at an event there.

    By iteration in loops that count these.
    """

    priority = 'VERY_HIGH'

    def __init__(self, event=None, moment=None):
        self.scores, self.moment = {}, moment
        if event:
            setattr(self, EVENTS[event], self.stop)

    def stop(self, runner, *args, **kwargs):
        if self.now(runner) == self.moment:
            raise Killed

    def after_val_epoch(self, runner, metrics=None):
        now = self.now(runner)
        assert now not in self.scores
        self.scores[now] = metrics['score']

    def now(self, runner):
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        return runner.epoch if by_epoch else runner.iter


class Sends(Hook):
    """Sends this process signals at an event of an iteration."""

    def __init__(self, event, iteration, *signals):
        self.iteration, self.signals = iteration, signals
        setattr(self, event, self.send)

    def send(self, runner, *args, **kwargs):
        if runner.iter == self.iteration:
            for signum in self.signals:
                os.kill(os.getpid(), signum)


class Run:
    """A training run in a folder, and what it had to say."""

    def __init__(self, config, folder, watcher=None, sends=None, **changes):
        self.folder, self.watcher = folder, watcher or Watcher()
        self.losses, self.scores = Losses(), self.watcher.scores
        config = copy.deepcopy(config)
        self.interruption = InterruptionHook()
        hooks = [*config.pop('custom_hooks', []), self.watcher]
        hooks += [sends] if sends else []
        hooks += [self.interruption]
        self.arguments = dict(
            config, work_dir=str(folder), custom_hooks=hooks, **changes
        )

    def go(self):
        with self.interruption:
            train({}, self.losses, **self.arguments)  # `engine` among them
        return self

    def ends_by(self, error):
        with pytest.raises(error) as ended:
            self.go()
        return ended.value

    def files(self):
        return {p.name: contents(p) for p in self.folder.glob('*.pth')}

    def says(self):
        return ''.join(p.read_text() for p in self.folder.glob('*/*.log'))


def contents(path):
    """What must be equal: weights, random states, all about scores."""
    file = torch.load(path, weights_only=False)
    hub = file['message_hub']
    [states] = file['random_states']
    history = hub['log_scalars'].get('val/score')
    info = hub['runtime_info']
    return dict(
        weights=file['state_dict'],
        drawn=[states['torch'], states['numpy'][0], states['sampler_seed']],
        done=[file['meta']['epoch'], file['meta']['iter']],
        history=[] if history is None else history.data[0].tolist(),
        best=str(info.get('best_score')),
        best_file=Path(info.get('best_ckpt', '')).name,
    )


def resumed(config, folder, watcher=None, **changes):
    path = last_whole_checkpoint(folder)
    return Run(config, folder, watcher, resume=True, load_from=path, **changes)


def config_of(rule):
    config = shaken_config()
    plateau = dict(
        type='ReduceOnPlateauLR', monitor='score', rule=rule, patience=0
    )
    return dict(
        config,
        param_scheduler=[plateau],  # the learning rate shows each validation
        custom_hooks=[],
        val_evaluator=[MeanScore()],
        checkpoint=dict(save_best='score', rule=rule),
        randomness=dict(seed=5),
    )


def assert_same_end(run, unbroken):
    """A resumed run has the rest, and leaves the same files."""
    for name in ('values', 'rates'):
        rest, all_ = getattr(run.losses, name), getattr(unbroken.losses, name)
        assert rest == {i: all_[i] for i in rest}
    assert run.scores == {i: unbroken.scores[i] for i in run.scores}
    files, expected = run.files(), unbroken.files()
    assert files.keys() == expected.keys()
    for name, file in files.items():
        for part, value in file.items():
            if part in ('best', 'best_file'):
                assert value == expected[name][part], (name, part)
            else:
                torch.testing.assert_close(
                    value, expected[name][part], rtol=0, atol=0
                )


@pytest.fixture(scope='module')
def whole_runs(tmp_path_factory):
    """By the rule for the best score, a config and its unbroken run."""
    runs = {}
    for rule in ('greater', 'less'):
        folder = tmp_path_factory.mktemp(rule)
        config = config_of(rule)
        runs[rule] = config, Run(config, folder / 'whole').go()
    return runs


@pytest.fixture
def best_second(whole_runs):
    """The run whose second epoch is the best."""
    config, whole = whole_runs['less']
    assert min(whole.scores, key=whole.scores.get) == 2
    return config, whole


def check(config, folder, event, moment, whole=None):
    """Kill a run and resume it; what is left of it, and the unbroken one."""
    whole = whole or Run(config, folder / 'whole').go()
    before = Run(config, folder / 'broken', Watcher(event, moment))
    before.ends_by(Killed)
    after = resumed(config, folder / 'broken').go()
    assert_same_end(after, whole)
    assert {**before.scores, **after.scores} == whole.scores
    return after, whole


@pytest.mark.parametrize(
    'rule, event',
    [
        *(('less', event) for event in ('between', 'within', 'after')),
        ('greater', 'after'),
    ],
)
def test_what_a_kill_took_is_made_up_for(whole_runs, tmp_path, rule, event):
    config, whole = whole_runs[rule]
    after, _ = check(config, tmp_path, event, 2, whole)
    assert min(after.losses.values) == 2 * PER_EPOCH
    # One that the checkpoint holds, as the best so far, is not repeated.
    held = event == 'after' and rule == 'less'
    assert (2 not in after.scores) == held


@pytest.mark.parametrize(
    'name, time',
    [('epoch_2.pth', 1), ('best_score_epoch_2.pth', 1), ('epoch_2.pth', 2)],
)
def test_a_kill_while_a_checkpoint_is_written(
    best_second, tmp_path, monkeypatch, name, time
):
    """The first time, the second epoch is lost."""
    config, whole = best_second
    whole_put, seen = AtomicLocalBackend.put, []

    def put(self, obj, filepath):
        seen.append(Path(filepath).name)
        if seen[-1] != name or seen.count(name) < time:
            return whole_put(self, obj, filepath)
        Path(f'{filepath}.part').write_bytes(obj[: len(obj) // 2])
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(AtomicLocalBackend, 'put', put)
        Run(config, tmp_path).ends_by(Killed)
    after = resumed(config, tmp_path).go()
    assert_same_end(after, whole)
    assert after.scores == {i: whole.scores[i] for i in (2, 3)}


def test_the_last_number_is_not_lost(best_second, tmp_path):
    """Of a run that validates after its last epoch only."""
    schedule = dict(by_epoch=True, max_epochs=EPOCHS, val_begin=EPOCHS)
    config = dict(best_second[0], train_cfg=schedule, log_level='INFO')
    after, whole = check(config, tmp_path, 'within', EPOCHS)
    assert after.losses.values == {} and list(after.scores) == [EPOCHS]
    assert 'Nothing is left to train: epoch 3 of 3 is done' in after.says()

    # It is finished now, and a further start has nothing to do.
    broken = tmp_path / 'broken'
    files = {p: p.stat().st_mtime_ns for p in broken.glob('*.pth')}
    again = resumed(config, broken).go()
    assert (again.losses.values, again.scores) == ({}, {})
    best = broken / f'best_score_epoch_{EPOCHS}.pth'
    assert f'Best checkpoint: {best} ({whole.scores[3]:.4f})' in again.says()
    assert files == {p: p.stat().st_mtime_ns for p in broken.glob('*.pth')}


@pytest.mark.parametrize(
    'changes, event, killed, left',
    [
        (dict(val_begin=3), 'after', 2, [3]),
        (dict(val_interval=2), 'after', 1, [2, 3]),
        # Killed within an epoch, which begins anew.
        ({}, 'between', 2, [2, 3]),
    ],
)
def test_what_was_not_due_is_not_validated(
    best_second, tmp_path, changes, event, killed, left
):
    schedule = dict(by_epoch=True, max_epochs=EPOCHS, **changes)
    config = dict(best_second[0], train_cfg=schedule)
    if not changes:
        config.update(
            checkpoint=dict(by_epoch=False, interval=PER_EPOCH + 2),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        )
    Run(config, tmp_path, Watcher(event, killed)).ends_by(Killed)
    assert list(resumed(config, tmp_path).go().scores) == left


def test_loops_that_count_iterations(best_second, tmp_path):
    loader = dict(
        best_second[0]['train_dataloader'],
        sampler=dict(type='InfiniteSampler', shuffle=True),
        num_workers=1,
    )
    config = dict(
        best_second[0],
        train_cfg=dict(
            by_epoch=False, max_iters=6, val_begin=1, val_interval=2
        ),
        train_dataloader=loader,
        param_scheduler=[],
        checkpoint=dict(
            by_epoch=False, interval=2, save_best='score', rule='greater'
        ),
    )
    after, whole = check(config, tmp_path, 'between', 4)
    assert list(whole.scores) == [2, 4, 6]
    assert list(after.scores) == [4, 6]


def test_the_flexible_runner_skips_no_epoch(best_second, tmp_path):
    strategy = dict(type='SingleDeviceStrategy')
    config = dict(best_second[0], strategy=strategy, engine=FlexibleRunner)
    after, _ = check(config, tmp_path, 'between', 2)
    assert min(after.losses.values) == 2 * PER_EPOCH


def test_worker_processes_draw_the_same(tmp_path):
    """Killed within the second epoch, which begins anew."""
    config = {
        key: value
        for key, value in shaken_config().items()
        if not key.startswith('val_')
    }
    config['train_cfg'] = dict(by_epoch=True, max_epochs=2)
    config['train_dataloader']['num_workers'] = 1
    config['randomness'] = dict(seed=5)
    after, whole = check(config, tmp_path, 'training', 1)
    assert min(after.losses.values) == PER_EPOCH
    # It is no matter of course: clips and masks differ by epoch.
    assert len(set(whole.losses.values.values())) == 2 * PER_EPOCH


# -- signals ------------------------------------------------------------------


# Epochs of four iterations, two to a step, counted from 0.
@pytest.mark.parametrize(
    'event, iteration, signum, first',
    [
        ('before_train_iter', 4, signal.SIGTERM, 6),
        ('after_train_iter', 7, signal.SIGUSR1, 8),
        ('before_val_iter', 8, signal.SIGINT, 8),
    ],
    ids=['within an epoch', 'at its end', 'in validation'],
)
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    whole_runs, tmp_path, event, iteration, signum, first
):
    config, unbroken = whole_runs['less']
    handler = signal.getsignal(signum)
    folder = tmp_path / 'broken'
    before = Run(config, folder, sends=Sends(event, iteration, signum))
    stop = before.ends_by(Interrupted)
    assert stop.status == 128 + signum
    assert f'{folder}/{INTERRUPTED}' in str(stop)
    assert signal.getsignal(signum) is handler
    after = resumed(config, folder).go()
    assert min(after.losses.values) == first
    (folder / INTERRUPTED).unlink()
    assert_same_end(after, unbroken)
    assert {**before.scores, **after.scores} == unbroken.scores


class Negates(Hook):
    """Validates with other weights than it trains with."""

    def negate(self, runner, *args, **kwargs):
        for parameter in runner.model.parameters():
            parameter.data.neg_()

    before_val_epoch = after_val_epoch = negate


@pytest.mark.parametrize(
    'hook, first_score',
    [(dict(type='EMAHook', momentum=0.3), 1), (Negates(), 2)],
    ids=['averages', 'others'],
)
def test_training_goes_on_from_the_weights_that_it_had(
    whole_runs, tmp_path, hook, first_score
):
    """The averages of MMEngine are put back, else validation ends first."""
    schedule = dict(by_epoch=True, max_epochs=2)
    config = dict(
        whole_runs['less'][0], custom_hooks=[hook], train_cfg=schedule
    )
    unbroken = Run(config, tmp_path / 'whole').go()
    folder = tmp_path / 'broken'
    sends = Sends('before_val_iter', PER_EPOCH, signal.SIGTERM)
    before = Run(config, folder, sends=sends)
    before.ends_by(Interrupted)
    assert (1 in before.scores) == (first_score == 2)
    after = resumed(config, folder).go()
    assert min(after.scores) == first_score
    (folder / INTERRUPTED).unlink()
    assert_same_end(after, unbroken)


def test_the_best_checkpoint_of_another_folder_stays(best_second, tmp_path):
    """Where the run goes on in a new folder, or the old one was moved."""
    config, _ = best_second
    first, moved = tmp_path / 'first', tmp_path / 'moved'
    once, twice = (dict(by_epoch=True, max_epochs=n) for n in (1, 2))
    Run(dict(config, train_cfg=once), first).go()
    files = {path.name for path in first.glob('*.pth')}
    shutil.copytree(first, moved)
    # Every score is better than the last one.
    config = dict(config, train_cfg=twice, val_evaluator=[Falls()])
    for folder in (tmp_path / 'new', moved):
        path = str(first / 'epoch_1.pth')
        Run(config, folder, resume=True, load_from=path).go()
        best = [path.name for path in folder.glob('best_*')]
        assert best == ['best_score_epoch_2.pth']
    assert {path.name for path in first.glob('*.pth')} == files


def test_an_interrupted_run_of_deepspeed_is_not_sent_to_resume(
    whole_runs, tmp_path
):
    strategy = dict(cfg=dict(strategy=dict(type='DeepSpeedStrategy')))
    config = dict(whole_runs['less'][0], **strategy)
    sends = Sends('before_train_iter', 4, signal.SIGUSR1)
    stop = Run(config, tmp_path, sends=sends).ends_by(Interrupted)
    assert f'load_from={tmp_path}/{INTERRUPTED}' in str(stop)
    assert '--resume' not in str(stop)
    assert stop.status == 1  # Slurm's script queues 138 again
    assert 'optimizer' not in read_checkpoint(tmp_path / INTERRUPTED)


def test_a_second_interrupt_ends_at_once(whole_runs, tmp_path):
    sends = Sends('before_train_iter', 4, signal.SIGINT, signal.SIGINT)
    run = Run(whole_runs['less'][0], tmp_path, sends=sends)
    assert not isinstance(run.ends_by(KeyboardInterrupt), Interrupted)
    assert not (tmp_path / INTERRUPTED).exists()


# -- one run at a time in a work folder ---------------------------------------

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


def test_two_kills_in_a_row(best_second, tmp_path):
    """The file that the second start wrote again is as good as the first."""
    config, whole = best_second
    Run(config, tmp_path, Watcher('between', 2)).ends_by(Killed)
    again = resumed(config, tmp_path, Watcher('after', 2))
    again.ends_by(Killed)
    assert list(again.scores) == [2]
    after = resumed(config, tmp_path).go()
    assert list(after.scores) == [3]
    assert_same_end(after, whole)


def test_an_interrupted_run_without_its_optimizer_says_so(
    whole_runs, tmp_path
):
    config = dict(whole_runs['less'][0], checkpoint=dict(save_optimizer=False))
    sends = Sends('before_train_iter', 4, signal.SIGTERM)
    stop = Run(config, tmp_path, sends=sends).ends_by(Interrupted)
    assert 'optimizer starts anew' in str(stop)


def test_a_disk_without_locks_is_told(tmp_path, monkeypatch):
    def lockf(file, how):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr('fcntl.lockf', lockf)
    with pytest.warns(UserWarning, match='No locks available'):
        with only_run_in(tmp_path):
            pass
