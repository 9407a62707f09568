# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Clips of the benchmarks as their recipes read them, in miniature."""

import pytest
from excerpts import LISTS, OFFICIAL
from miniature import CONFIGS, load
from mmaction.registry import DATASETS
from mmengine.config import Config
from shrunk_models import SIDE, SPEC

pytestmark = pytest.mark.usefixtures('inside')


@pytest.mark.parametrize(
    ('name', 'shapes'),
    [
        ('experts/ast_vggsound', [(1, 1, *SPEC)] * 3),
        (
            'experts/clip_image_k400',
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
    cfg = load('cava/cava_ek100')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    for row in range(2):
        info = dataset.get_data_info(row)
        duration = info['clip_end'] - info['clip_start']
        inputs = dataset[row]['inputs']
        times, audio = inputs['imgs'].times, inputs['audios'].times
        assert times.min() == pytest.approx(0, abs=0.05)
        assert duration - 0.2 < times.max() < duration
        # SPEC frames of 10 ms; the other views begin later
        assert audio[:, 0].min() >= -1e-3
        assert audio[:, 1].max() <= duration + 0.05


def test_every_manifest_has_a_benchmark(world):
    """No manifest of this world goes unread but the sets for servers."""
    read = set()
    for path in CONFIGS.glob('ca*/*.py'):
        cfg = Config.fromfile(path)
        for split in ('train', 'val', 'test'):
            dataset = cfg[f'{split}_dataloader'].dataset
            read.add(f'{dataset.data_root}/{dataset.ann_file}')
    written = {
        str(path.relative_to(world))
        for path in world.glob('data/*/*.csv')
        if not path.stem.endswith('_missing')
    }
    servers = {
        f'data/epic_{name}/test.csv' for name in ('kitchens100', 'sounds')
    }
    assert read | servers == written


@pytest.mark.parametrize(('benchmark', 'file'), sorted(OFFICIAL))
def test_rows_are_those_of_the_official_files(benchmark, file, shared_file):
    official = shared_file(f'annotations/{benchmark}/{file}').read_text()
    assert set(LISTS[benchmark][file].splitlines()) <= set(
        official.splitlines()
    )
