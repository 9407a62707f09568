# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Runs that draw all they can, interrupted at any moment and resumed."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, FlexibleRunner
from runs import EPOCHS, PER_EPOCH, Losses, shaken_config, train

from ca2st_mm.engine.checkpointing import (
    AtomicLocalBackend,
    last_whole_checkpoint,
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


class Run:
    """A training run in a folder, and what it had to say."""

    def __init__(self, config, folder, watcher=None, **changes):
        self.folder, self.watcher = folder, watcher or Watcher()
        self.losses, self.scores = Losses(), self.watcher.scores
        config = copy.deepcopy(config)
        hooks = [*config.pop('custom_hooks', []), self.watcher]
        self.arguments = dict(
            config, work_dir=str(folder), custom_hooks=hooks, **changes
        )

    def go(self):
        train({}, self.losses, **self.arguments)  # `engine` among them
        return self

    def killed(self):
        with pytest.raises(Killed):
            self.go()
        return self

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


@pytest.mark.parametrize(
    'rule, event',
    [
        *(('less', event) for event in ('between', 'within', 'after')),
        ('greater', 'after'),
    ],
)
def test_what_a_kill_took_is_made_up_for(whole_runs, tmp_path, rule, event):
    config, whole = whole_runs[rule]
    before = Run(config, tmp_path, Watcher(event, 2)).killed()
    after = resumed(config, tmp_path).go()
    assert min(after.losses.values) == 2 * PER_EPOCH
    assert_same_end(after, whole)
    assert {**before.scores, **after.scores} == whole.scores
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
        Run(config, tmp_path).killed()
    after = resumed(config, tmp_path).go()
    assert_same_end(after, whole)
    assert after.scores == {i: whole.scores[i] for i in (2, 3)}


def test_two_kills_in_a_row(best_second, tmp_path):
    """The file that the second start wrote again is as good as the first."""
    config, whole = best_second
    Run(config, tmp_path, Watcher('between', 2)).killed()
    again = resumed(config, tmp_path, Watcher('after', 2)).killed()
    assert list(again.scores) == [2]
    after = resumed(config, tmp_path).go()
    assert list(after.scores) == [3]
    assert_same_end(after, whole)


def test_the_last_number_is_not_lost(best_second, tmp_path):
    """Of a run that validates after its last epoch only."""
    schedule = dict(by_epoch=True, max_epochs=EPOCHS, val_begin=EPOCHS)
    config = dict(best_second[0], train_cfg=schedule, log_level='INFO')
    whole = Run(config, tmp_path / 'whole').go()
    broken = tmp_path / 'broken'
    Run(config, broken, Watcher('within', EPOCHS)).killed()
    after = resumed(config, broken).go()
    assert after.losses.values == {}
    assert after.scores == whole.scores != {}
    assert_same_end(after, whole)
    assert 'Nothing is left to train: epoch 3 of 3 is done' in after.says()

    # It is finished now, and a further start has nothing to do.
    files = {p: p.stat().st_mtime_ns for p in broken.glob('*.pth')}
    again = resumed(config, broken).go()
    assert (again.losses.values, again.scores) == ({}, {})
    best = broken / f'best_score_epoch_{EPOCHS}.pth'
    assert f'Best checkpoint: {best} ({whole.scores[3]:.4f})' in again.says()
    assert files == {p: p.stat().st_mtime_ns for p in broken.glob('*.pth')}


@pytest.mark.parametrize(
    'rule, killed, left',
    [(dict(val_begin=3), 2, [3]), (dict(val_interval=2), 1, [2, 3])],
)
def test_what_was_not_due_is_not_validated(
    best_second, tmp_path, rule, killed, left
):
    schedule = dict(by_epoch=True, max_epochs=EPOCHS, **rule)
    config = dict(best_second[0], train_cfg=schedule)
    Run(config, tmp_path, Watcher('after', killed)).killed()
    assert list(resumed(config, tmp_path).go().scores) == left


def test_within_an_epoch_the_one_before_is_not_validated_again(
    best_second, tmp_path
):
    config = dict(
        best_second[0],
        checkpoint=dict(by_epoch=False, interval=PER_EPOCH + 2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
    )
    Run(config, tmp_path, Watcher('between', 2)).killed()
    newest = last_whole_checkpoint(tmp_path)
    assert newest.endswith(f'iter_{PER_EPOCH + 2}.pth')
    # The epoch begins anew, after the validation of the first.
    assert list(resumed(config, tmp_path).go().scores) == [2, 3]


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
    whole = Run(config, tmp_path / 'whole').go()
    assert list(whole.scores) == [2, 4, 6]
    broken = tmp_path / 'broken'
    before = Run(config, broken, Watcher('between', 4)).killed()
    after = resumed(config, broken).go()
    assert {**before.scores, **after.scores} == whole.scores
    assert list(after.scores) == [4, 6]
    assert_same_end(after, whole)


def test_the_flexible_runner_skips_no_epoch(best_second, tmp_path):
    strategy = dict(type='SingleDeviceStrategy')
    config = dict(best_second[0], strategy=strategy, engine=FlexibleRunner)
    whole = Run(config, tmp_path / 'whole').go()
    broken = tmp_path / 'broken'
    before = Run(config, broken, Watcher('between', 2)).killed()
    after = resumed(config, broken).go()
    assert min(after.losses.values) == 2 * PER_EPOCH
    assert {**before.scores, **after.scores} == whole.scores
    assert_same_end(after, whole)


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
    whole = Run(config, tmp_path / 'whole').go().losses.values
    broken = tmp_path / 'broken'
    before = Run(config, broken, Watcher('training', 1)).killed()
    after = resumed(config, broken).go().losses.values
    assert min(after) == PER_EPOCH
    assert {**before.losses.values, **after} == whole
    # It is no matter of course: clips and masks differ by epoch.
    assert len(set(whole.values())) == 2 * PER_EPOCH
