# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Runs that draw all they can, interrupted and resumed; what they leave."""

import copy
from pathlib import Path

import pytest
import tiny_models as tiny
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from runs import Clips, Losses, loader, recipe, tiny_model, train

from ca2st_mm.engine.whole_checkpoints import last_whole_checkpoint

CLIPS, BATCH, MICRO, EPOCHS = 9, 2, 2, 3
PER_EPOCH = 4  # micro-batches; the ninth clip fills no step
SHAKEN = dict(
    tiny.CAST,
    links=[dict(tiny.SPACE_TIME, drop_path_rate=0.5)],
)
EVENTS = dict(
    between='before_val', within='after_val_iter', after='before_train_epoch'
)


class Killed(BaseException):
    """Nothing catches it."""


def shaken_config(tmp_path, workers=0):
    """Everything random that a run can draw: order, clips, drop paths."""
    inputs, labels = dict(imgs=tiny.video(CLIPS)), [i % 4 for i in range(9)]
    sampler = dict(
        type='WholeStepSampler', clips_per_step=BATCH * MICRO, shuffle=True
    )
    config = recipe(EPOCHS)
    config['optim_wrapper']['accumulative_counts'] = MICRO
    val_loader = loader(Clips(inputs, labels, shaken=True), 4)
    return dict(
        config,
        model=tiny_model(SHAKEN, inputs),
        train_dataloader=loader(
            Clips(inputs, labels, shaken=True),
            BATCH,
            sampler,
            worker_init_fn=dict(type='seed_worker'),
        )
        | dict(num_workers=workers),
        val_dataloader=val_loader,
        val_cfg=dict(),
        val_evaluator=dict(type='AudioVisualAccMetric'),
        work_dir=str(tmp_path / 'work'),
    )


def whole_run(config, tmp_path, **changes):
    other = dict(config, work_dir=str(tmp_path / 'whole'))
    return train(copy.deepcopy(other), **changes)[1].values


def killed_run(config, kill_at, **changes):
    losses = Losses(kill_at)
    with pytest.raises(KeyboardInterrupt):
        train(copy.deepcopy(config), losses, **changes)
    return losses.values


def resumed_run(config, **changes):
    """As `tools/train.py --resume`."""
    return train(
        copy.deepcopy(config),
        resume=True,
        load_from=last_whole_checkpoint(config['work_dir']),
        **changes,
    )[1].values


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
