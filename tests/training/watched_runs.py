# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Runs whose validations are watched, and what they leave on the disk."""

import copy
from pathlib import Path

import pytest
import torch
from broken_runs import Killed, shaken_config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from runs import Losses, train

from ca2st_mm.engine.whole_checkpoints import last_whole_checkpoint

EVENTS = dict(
    between='before_val', within='after_val_iter', after='before_train_epoch'
)


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


def config_of(folder, rule):
    config = shaken_config(folder)
    plateau = dict(
        type='ReduceOnPlateauLR', monitor='score', rule=rule, patience=0
    )
    return dict(
        config,
        param_scheduler=[plateau],  # the rate shows each validation
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
