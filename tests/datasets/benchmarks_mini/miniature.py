# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A benchmark's base config with small sizes, and a runner for it."""

import copy
from pathlib import Path

import tiny_models as tiny
import torch
from mmengine.config import Config
from mmengine.runner import Runner

BASES = Path(__file__).resolve().parents[3] / 'configs/_base_/datasets'
SIDE, SPEC = tiny.SIZE, tiny.SPEC


def shrunk(step):
    """A transform with small pictures and spectrograms."""
    step = copy.deepcopy(dict(step))
    if step['type'] == 'Resize':
        step['scale'] = tuple(SIDE if s == 224 else s for s in step['scale'])
    if 'crop_size' in step:
        step['crop_size'] = SIDE
    if step['type'] == 'LogMelSpectrogram':
        step.update(num_frames=SPEC[0], num_mels=SPEC[1])
    return step


def load(name):
    cfg = Config.fromfile(BASES / f'{name}.py')
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        # collects garbage in all loaded modules, half a second each time
        loader.dataset.serialize_data = False
        loader.dataset.pipeline = [shrunk(s) for s in loader.dataset.pipeline]
    return cfg


def model_of(sizes, with_sound):
    """CAST, or CA2ST with clock times; every stream is blended."""
    experts = dict(
        spatial=dict(tiny.CLIP, num_frames=8),
        temporal=dict(tiny.VIDEOMAE, num_frames=16),
    )
    links, streams, encoders = [tiny.SPACE_TIME], ['imgs'], {}
    if with_sound:
        experts['audio'] = dict(tiny.AST, num_time_bins=8)
        links = links + [
            dict(link, position='timestamp')
            for link in (tiny.SPACE_AUDIO, tiny.TIME_AUDIO)
        ]
        streams += ['audios', 'imgs_times', 'audios_times', 'audios_present']
        encoders = {s: dict(embed_dims=tiny.DIMS // 2) for s in streams[:2]}
    inputs = dict(spatial='imgs', temporal='imgs', audio='audios')
    return dict(
        type='MultiExpertRecognizer',
        backbone=dict(
            type='MultiExpertBackbone',
            experts=experts,
            inputs={name: inputs[name] for name in experts},
            links=links,
            time_encoders=encoders,
        ),
        cls_head=head_of(sizes, {name: tiny.DIMS for name in experts}),
        data_preprocessor=dict(
            type='MultiStreamDataPreprocessor',
            preprocessors={
                stream: dict(
                    type='ActionDataPreprocessor', format_shape='NCTHW'
                )
                for stream in streams
            },
            blending=dict(
                type='MultiStreamBlending',
                cut=('audios',) if with_sound else (),
            ),
        ),
        test_cfg=dict(max_testing_views=4),
    )


def head_of(sizes, widths):
    if isinstance(sizes, int):
        return dict(
            type='FusionHead',
            num_classes=sizes,
            in_channels=widths,
            average_clips='prob',
        )
    return dict(
        type='VerbNounHead',
        num_verbs=sizes['verb'],
        num_nouns=sizes['noun'],
        fusions=dict(verb=dict(in_channels=widths), noun='verb'),
        average_clips='prob',
    )


def runner_of(name, cfg, folder):
    torch.manual_seed(0)
    sizes = cfg.train_dataloader.dataset.num_classes
    tiny.quiet()
    parts = [
        f'{split}_{part}'
        for split in ('train', 'val', 'test')
        for part in ('dataloader', 'evaluator')
    ]
    # Runner.from_cfg formats the config several times, a second each.
    return Runner(
        model=model_of(sizes, name.endswith('audio_visual')),
        **{part: cfg[part] for part in parts if part in cfg},
        train_cfg=dict(by_epoch=True, max_epochs=1),
        val_cfg=dict(),
        test_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        default_hooks=dict(checkpoint=None),
        custom_hooks=[dict(type='ResultRecordHook')],
        default_scope='mmaction',
        experiment_name=name,
        log_level='WARNING',
        work_dir=str(folder),
        randomness=dict(seed=0),
    )
