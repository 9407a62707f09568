# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Every benchmark from its config to its numbers, in miniature.

The base configs are used as they are but for sizes: a shrunk model makes one
training step, is validated, tested with all views, and measured.
"""

import copy
import hashlib
import json
from pathlib import Path

import pytest
import tiny_models as tiny
import torch
from media import write_world
from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.runner import Runner

BASES = Path(__file__).resolve().parents[3] / 'configs/_base_/datasets'
NAMES = sorted(
    path.stem
    for kind in ('rgb', 'audio_visual')
    for path in BASES.glob(f'*_{kind}.py')
    if not path.stem.startswith('toy')
)
SIDE, SPEC = tiny.SIZE, tiny.SPEC
EPIC = {'acc/verb_top1', 'acc/action_top5', 'acc/action_product_top5'}
NUMBERS = {
    'epic_kitchens100': EPIC | {'acc/unseen_action_top1'},
    'hd_epic': EPIC,
    'epic_sounds': {'acc/top1', 'acc/mean1', 'acc/mAP', 'acc/mAUC'},
}
NUMBERS['hd_epic_sounds'] = NUMBERS['epic_sounds']


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp('world')
    write_world(root)
    return root


@pytest.fixture(autouse=True)
def inside(world, monkeypatch):
    monkeypatch.chdir(world)


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


@pytest.mark.parametrize('name', NAMES)
def test_from_config_to_numbers(name, tmp_path, world):
    cfg = load(name)
    benchmark = name.removesuffix('_rgb').removesuffix('_audio_visual')
    runner = runner_of(name, cfg, tmp_path)
    before = copy.deepcopy(runner.model.state_dict())
    runner.train()
    assert runner.iter == 1
    loss = runner.message_hub.get_scalar('train/loss').current()
    assert 0 < loss < float('inf')
    after = runner.model.state_dict()
    assert any(not torch.equal(after[k], before[k]) for k in before)
    metrics = runner.test()
    assert metrics['acc/num_clips'] == 2
    assert NUMBERS.get(benchmark, {'acc/top1', 'acc/mean1'}) <= set(metrics)
    written = Path(runner.log_dir) / 'results.json'
    data = json.loads(written.read_text())['data']
    assert data['views'] == [15 if benchmark == 'kinetics400' else 6]
    manifest = (world / data['manifest']).read_bytes()
    assert data['manifest_sha256'] == hashlib.sha256(manifest).hexdigest()
    assert f'data/{benchmark}/' in data['manifest']
    if name == 'kinetics400_audio_visual':
        assert metrics['acc/with_sound'] == 0.5


@pytest.mark.parametrize(
    ('name', 'shapes'),
    [
        ('vggsound_audio', [(1, 1, *SPEC)] * 3),
        (
            'kinetics400_images',
            [(8, 3, SIDE, SIDE)] * 2 + [(24, 3, SIDE, SIDE)],
        ),
    ],
)
def test_single_streams(name, shapes):
    cfg = load(name)
    for split, shape in zip(('train', 'val', 'test'), shapes, strict=True):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        assert tuple(dataset[0]['inputs'].shape) == shape


def test_clips_of_long_files_have_their_own_clock():
    cfg = load('epic_kitchens100_audio_visual')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    for row in range(2):
        info = dataset.get_data_info(row)
        duration = info['clip_end'] - info['clip_start']
        inputs = dataset[row]['inputs']
        times, sound = inputs['imgs_times'], inputs['audios_times']
        assert times.min() == pytest.approx(0, abs=0.05)
        assert duration - 0.2 < times.max() < duration
        # SPEC frames of 10 ms; the other views begin later
        assert sound[:, 0].min() >= -1e-3
        assert sound[:, 1].max() <= duration + 0.05


def test_every_row_has_a_benchmark(world):
    """No manifest of this world goes unread."""
    read = set()
    for path in BASES.glob('*.py'):
        cfg = Config.fromfile(path)
        for split in ('train', 'val', 'test'):
            dataset = cfg.get(f'{split}_dataloader', {}).get('dataset', {})
            if 'data_root' in dataset:
                read.add(f'{dataset.data_root}/{dataset.ann_file}')
    written = {str(p.relative_to(world)) for p in world.glob('data/*/*.csv')}
    assert {p for p in read if not p.startswith('data/toy')} == written
