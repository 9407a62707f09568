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
import torch
from excerpts import LISTS, OFFICIAL
from miniature import BASES, SIDE, SPEC, load, runner_of
from mmaction.registry import DATASETS
from mmengine.config import Config

NAMES = sorted(
    path.stem
    for kind in ('rgb', 'audio_visual')
    for path in BASES.glob(f'*_{kind}.py')
    if not path.stem.startswith('toy')
)
EPIC = {'acc/verb_top1', 'acc/action_top5', 'acc/action_product_top5'}
NUMBERS = {
    'epic_kitchens100': EPIC | {'acc/unseen_action_top1'},
    'hd_epic': EPIC,
    'epic_sounds': {'acc/top1', 'acc/mean1', 'acc/mAP', 'acc/mAUC'},
}
NUMBERS['hd_epic_sounds'] = NUMBERS['epic_sounds']


pytestmark = pytest.mark.usefixtures('inside')


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
    assert metrics['acc/num_used'] == metrics['acc/num_expected'] == 2
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


def test_every_manifest_has_a_benchmark(world):
    """No manifest of this world goes unread but the sets for servers."""
    read = set()
    for path in BASES.glob('*.py'):
        cfg = Config.fromfile(path)
        for split in ('train', 'val', 'test'):
            dataset = cfg.get(f'{split}_dataloader', {}).get('dataset', {})
            if 'data_root' in dataset:
                read.add(f'{dataset.data_root}/{dataset.ann_file}')
    written = {
        str(path.relative_to(world))
        for path in world.glob('data/*/*.csv')
        if not path.stem.endswith('_missing')
    }
    servers = {
        f'data/epic_{name}/test.csv' for name in ('kitchens100', 'sounds')
    }
    assert {
        p for p in read if not p.startswith('data/toy')
    } | servers == written


@pytest.mark.parametrize(('benchmark', 'file'), sorted(OFFICIAL))
def test_rows_are_those_of_the_official_files(benchmark, file, shared_file):
    official = shared_file(f'annotations/{benchmark}/{file}').read_text()
    assert set(LISTS[benchmark][file].splitlines()) <= set(
        official.splitlines()
    )
