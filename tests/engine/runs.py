# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Short training runs on noise, and the losses they had."""

import copy
import random
from pathlib import Path

import numpy as np
import tiny_models as tiny
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import Dataset

from ca2st_mm.structures import Stream

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
RATE = 0.4  # for 256 clips; our batches are that much smaller
# Of `shaken_config`.
CLIPS, BATCH, MICRO, EPOCHS = 9, 2, 2, 3
PER_EPOCH = 4  # micro-batches; the ninth clip fills no step
VERB_NOUN = dict(
    type='VerbNounHead',
    num_verbs=4,
    num_nouns=3,
    fusions=dict(
        verb=dict(in_channels=dict.fromkeys(tiny.CA2ST['experts'], tiny.DIMS)),
        noun='verb',
    ),
    average_clips='prob',
)
SHAKEN = dict(tiny.CAST, links=[dict(tiny.SPACE_TIME, drop_path_rate=0.5)])


def read_config(path):
    return Config.fromfile(CONFIGS / path)


class Clips(Dataset):
    """Noise with a label each; ``shaken`` adds augmentation."""

    metainfo = {}

    def __init__(self, inputs, labels, shaken=False, names=None, bad=None):
        self.inputs, self.labels, self.shaken = inputs, labels, shaken
        self.names = names or [f'{i}.mp4' for i in range(len(labels))]
        self.bad = bad  # the number of a clip that cannot be read

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        inputs = {key: value[index] for key, value in self.inputs.items()}
        if self.shaken:
            inputs['imgs'] = (
                inputs['imgs'] * np.random.uniform(0.5, 1.5)
                + random.uniform(-0.5, 0.5)
                + 0.1 * torch.randn(1)
            )
        # One view.
        inputs = {key: value[None] for key, value in inputs.items()}
        if 'audios_present' in inputs:
            present = inputs.pop('audios_present')
            inputs['audios'] = Stream(inputs['audios'], present=present)
        sample = tiny.samples([self.labels[index]])[0]
        sample.set_metainfo(
            dict(clip_id=f'id {index}', filename=self.names[index])
        )
        if index == self.bad:
            sample.set_metainfo(dict(unreadable='no frames'))
        return dict(inputs=inputs, data_samples=sample)


class SlowClips(Clips):
    """Waits before it reads the clips that it is told."""

    def __init__(self, inputs, labels, slow, wait):
        super().__init__(inputs, labels)
        self.slow, self.wait = slow, wait

    def __getitem__(self, index):
        if index in self.slow:
            self.wait()
        return super().__getitem__(index)


def watched(seconds):
    """The hook, which warns after so many seconds in one stage."""
    return dict(type='StallWatchHook', minutes=seconds / 60)


class Losses(Hook):
    """Remembers every loss, by iteration; may stop the run like a kill."""

    def __init__(self, kill_at=None):
        self.values, self.rates, self.kill_at = {}, {}, kill_at

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ):
        self.values[runner.iter] = outputs['loss'].item()
        self.rates[runner.iter] = runner.optim_wrapper.get_lr()['lr']
        if runner.iter == self.kill_at:
            raise KeyboardInterrupt


def tiny_config(backbone, streams, head=None):
    """A small recognizer, by default of four classes."""
    dims = {name: tiny.DIMS for name in backbone['experts']}
    classes = dict(type='FusionHead', num_classes=4, in_channels=dims)
    return copy.deepcopy(
        dict(
            type='MultiExpertRecognizer',
            backbone=backbone,
            cls_head=head or dict(classes, average_clips='prob'),
            data_preprocessor=dict(
                type='MultiStreamDataPreprocessor',
                preprocessors={
                    key: dict(type='ActionDataPreprocessor') for key in streams
                },
            ),
        )
    )


def tiny_model(*config):
    """A model of noise; its zeros of the start would hide faults."""
    return tiny.randomize(MODELS.build(tiny_config(*config)), std=0.2)


def loader(dataset, batch_size, sampler=None, **changes):
    return dict(
        dataset=dataset,
        batch_size=batch_size,
        num_workers=0,
        sampler=sampler or dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
        **changes,
    )


def recipe(epochs, warmup=1):
    """The optimizer and schedule that our configs train with."""
    cfg = read_config('_base_/training.py')
    cfg.optim_wrapper.optimizer.lr = RATE
    cfg.param_scheduler[0].update(warmup=warmup, end=epochs)
    return dict(
        optim_wrapper=cfg.optim_wrapper.to_dict(),
        param_scheduler=[s.to_dict() for s in cfg.param_scheduler],
        custom_hooks=[dict(type='LinearScalingHook')],
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=epochs),
    )


def train(settings, losses=None, name='run', engine=Runner, **changes):
    """Train; returns the runner and the losses by iteration."""
    cfg = {**settings, **changes}
    losses = losses or Losses()
    hooks = [*cfg.pop('custom_hooks', []), losses]
    runtime = read_config('_base_/training.py')
    default_hooks = copy.deepcopy(runtime.default_hooks.to_dict())
    default_hooks['checkpoint']['save_best'] = None
    del default_hooks['linear_scaling']  # tests that need it add their own
    for hook in ('checkpoint', 'non_finite_loss'):
        default_hooks[hook].update(cfg.pop(hook, {}))
    cfg.setdefault('log_level', 'WARNING')
    run = engine(
        **cfg,
        custom_hooks=hooks,
        default_hooks=default_hooks,
        default_scope='mmaction',
        experiment_name=f'{name}-{id(losses)}',
    )
    run.train()
    return run, losses


def shaken_config(workers=0):
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
        val_evaluator=dict(type='ClipAccMetric'),
    )
