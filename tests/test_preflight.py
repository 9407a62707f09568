# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A missing file stops a run before it starts, in one helpful sentence."""

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from ca2st_mm.engine.preflight import MissingFileError, check_files

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def cfg(tmp_path):
    """A config all of whose files exist."""
    names = ('train.csv', 'val.csv', 'test.csv', 'clip.pth', 'run.pth')
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / 'videos').mkdir()

    def loader(split):
        return dict(
            batch_size=2,
            dataset=dict(
                type='RepeatDataset',
                dataset=dict(
                    ann_file=f'{split}.csv',
                    data_root=str(tmp_path),
                    data_prefix=dict(video='videos'),
                ),
            ),
        )

    weights = dict(type='Pretrained', checkpoint=str(tmp_path / 'clip.pth'))
    return Config(
        dict(
            model=dict(backbone=dict(experts=dict(a=dict(init_cfg=weights)))),
            load_from=str(tmp_path / 'run.pth'),
            train_dataloader=loader('train'),
            val_dataloader=loader('val'),
            test_dataloader=loader('test'),
        )
    )


# file, mode that needs it, mode that does not, key for --cfg-options
FILES = [
    ('train.csv', 'train', 'test', 'train_dataloader.dataset.dataset'),
    ('val.csv', 'train', 'test', 'val_dataloader.dataset.dataset'),
    ('test.csv', 'test', 'train', 'test_dataloader.dataset.dataset'),
    ('clip.pth', 'train', 'test', 'model.backbone.experts.a.init_cfg'),
    ('run.pth', 'train', None, None),
    ('run.pth', 'test', None, None),
]


@pytest.mark.parametrize('name, mode, other, key', FILES)
def test_each_missing_file_is_named_with_its_place(
    cfg, tmp_path, name, mode, other, key
):
    check_files(cfg, mode)
    (tmp_path / name).unlink()
    with pytest.raises(MissingFileError) as caught:
        check_files(cfg, mode)
    message = str(caught.value)
    assert f'put it at {tmp_path / name}' in message
    if name != 'run.pth':
        assert f'--cfg-options {key}' in message
    assert '\n' not in message
    if other:
        check_files(cfg, other)


def test_missing_data_folder_is_named(cfg, tmp_path):
    (tmp_path / 'videos').rmdir()
    with pytest.raises(MissingFileError, match='videos .*data folder'):
        check_files(cfg, 'test')


def test_all_missing_files_come_at_once(cfg, tmp_path):
    for name in ('train.csv', 'val.csv', 'clip.pth'):
        (tmp_path / name).unlink()
    with pytest.raises(MissingFileError, match='3 files are missing') as error:
        check_files(cfg, 'train')
    for name in ('train.csv', 'val.csv', 'clip.pth'):
        assert name in str(error.value)


def test_config_can_say_where_a_file_comes_from(cfg, tmp_path):
    path = str(tmp_path / 'clip.pth')
    Path(path).unlink()
    cfg.fetch = {path: 'download CLIP and convert it'}
    with pytest.raises(MissingFileError, match='download CLIP and convert'):
        check_files(cfg, 'train')


@pytest.mark.parametrize('path', ['https://x.y/z.pth', 's3://b/z.pth', ''])
def test_addresses_are_not_looked_up(cfg, path):
    cfg.model.backbone.experts.a.init_cfg.checkpoint = path
    check_files(cfg, 'train')


def test_several_init_cfgs_are_searched(cfg):
    cfg.model.init_cfg = [
        dict(type='Normal'),
        dict(type='Pretrained', checkpoint='nowhere.pth'),
    ]
    with pytest.raises(MissingFileError, match='init_cfg.1.checkpoint=PATH'):
        check_files(cfg, 'train')


def test_absent_loaders_need_nothing():
    check_files(Config(dict(model=dict(), val_dataloader=None)), 'train')


def test_unknown_mode_is_refused(cfg):
    with pytest.raises(ValueError, match="'predict'"):
        check_files(cfg, 'predict')


def test_training_tool_stops_with_one_line(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(
        'model = dict(type="Recognizer3D")\n'
        'train_dataloader = dict(dataset=dict(ann_file="gone.csv"))\n'
    )
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'train.py'), str(config)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.startswith('error: Cannot start, a file is missing')
    assert str(tmp_path / 'gone.csv') in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / 'work_dirs').exists()
