# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A run that draws all it can, interrupted and resumed."""

import copy

import pytest
import tiny_models as tiny
from runs import Clips, Losses, loader, recipe, tiny_model, train

from ca2st_mm.engine.whole_checkpoints import last_whole_checkpoint

CLIPS, BATCH, MICRO, EPOCHS = 9, 2, 2, 3
PER_EPOCH = 4  # micro-batches; the ninth clip fills no step
SHAKEN = dict(
    tiny.CAST,
    links=[dict(tiny.SPACE_TIME, drop_path_rate=0.5)],
)


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


class Killed(BaseException):
    """Nothing catches it."""
