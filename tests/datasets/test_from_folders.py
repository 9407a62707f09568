# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Class folders in, a config that trains out."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from shrunk_models import shrink, without_init

from ca2st_mm.datasets import AudioVisualDataset
from ca2st_mm.datasets.folders import scan_folders, split_videos
from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.engine.class_check import check_classes

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools/data/from_folders.py'
CLIPS = dict(jump=4, run=2, walk=1)


@pytest.fixture
def root(tmp_path):
    """Empty files are enough for what does not decode."""
    root = tmp_path / 'my clips'
    for name, count in CLIPS.items():
        (root / name / 'deep').mkdir(parents=True)
        for number in range(count):
            (root / name / 'deep' / f'{name} {number}.MP4').touch()
    return root


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the tool; returns what it prints."""

    def call(*arguments):
        monkeypatch.setattr('sys.argv', ['tool', *map(str, arguments)])
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    return call


@pytest.fixture
def refuse(run, capsys):
    """Run the tool, which must stop with one line; returns it."""

    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            run(*arguments)
        assert stopped.value.code == 2
        said = capsys.readouterr().err.strip()
        assert said.startswith('error: ') and '\n' not in said
        return said

    return call


def test_split_is_stratified_complete_and_repeatable():
    videos = {
        name: [f'{name}/{i}.mp4' for i in range(count)]
        for name, count in dict(a=10, b=30, c=2, d=1).items()
    }
    train, val = split_videos(videos, 0.2, seed=3)
    assert sorted(train + val) == [
        (file, label)
        for label, files in enumerate(videos.values())
        for file in sorted(files)
    ]
    drawn = [label for _, label in val]
    assert [drawn.count(label) for label in range(4)] == [2, 6, 1, 0]
    assert split_videos(videos, 0.2, seed=3) == (train, val)
    assert split_videos(videos, 0.2, seed=4) != (train, val)
    # Without the first class all labels change, the draw does not.
    fewer = {name: videos[name] for name in 'bcd'}
    again = split_videos(fewer, 0.2, seed=3)[1]
    assert again == [(file, label - 1) for file, label in val if label]


def test_files_name_every_clip_once(root, run):
    (root / 'notes.txt').touch()
    (root / 'jump' / 'thumbs.db').touch()
    said = run(root)
    assert '3 classes, 5 clips to train and 2 to validate' in said
    assert 'not in the validation set: walk' in said
    assert '2 files are no videos of a class' in said
    assert (root / 'classes.txt').read_text() == 'jump\nrun\nwalk\n'
    rows = []
    for name in ('train.csv', 'val.csv'):
        data = AudioVisualDataset(
            name, [], data_root=str(root), classes='classes.txt'
        )
        infos = [data.get_data_info(i) for i in range(len(data))]
        rows += [(info['filename'], info['label']) for info in infos]
    assert len(rows) == len(set(rows)) == sum(CLIPS.values())
    for filename, label in rows:
        assert Path(filename).is_file()
        assert Path(filename).parts[-3] == data.metainfo['classes'][label]


@pytest.mark.parametrize('base', ['ca2st/ca2st_k400', 'toy/ca2st_toy'])
def test_written_config_agrees_with_the_class_list(base, root, run):
    run(root, '--base', ROOT / f'configs/{base}.py')
    path = root / f'my clips_{Path(base).name}.py'
    cfg = Config.fromfile(path)
    assert cfg.model.cls_head.num_classes == 3
    assert cfg.model.backbone.type == 'MultiExpertBackbone'
    for mode in ('train', 'test'):
        check_classes(cfg, mode)
    lists = {}
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        lists[split] = dataset.ann_file
        assert Path(dataset.data_root) == root
        # The toy keeps its clips in a folder of their own.
        assert dataset.data_prefix == dict(video='', audio='')
    assert lists == dict(train='train.csv', val='val.csv', test='val.csv')


def test_nothing_is_replaced_unasked(root, run, refuse):
    run(root)
    (root / 'val.csv').write_text('mine')
    assert 'val.csv' in refuse(root) and (root / 'val.csv').read_text() == (
        'mine'
    )
    assert 'left out' not in run(root, '--overwrite')
    assert (root / 'val.csv').read_text() != 'mine'


def test_mistakes_are_named(root, refuse, tmp_path):
    assert 'no folder' in refuse(tmp_path / 'nowhere')
    assert 'between 0 and 1, got 1.5' in refuse(root, '--val-fraction', 1.5)
    assert 'no config' in refuse(root, '--base', 'gone.py')
    other = ROOT / 'configs/cast/cast_ek100.py'
    assert 'VerbNounHead, which has no num' in refuse(root, '--base', other)
    (root / 'empty').mkdir()
    assert "empty' holds no video" in refuse(root)
    for split in ('train', 'val'):
        (tmp_path / 'splits' / split).mkdir(parents=True)
    assert 'splits rather than classes' in refuse(tmp_path / 'splits')
    (tmp_path / 'single' / 'a').mkdir(parents=True)
    assert '1 class folders, at least 2' in refuse(tmp_path / 'single')
    assert not list(tmp_path.rglob('*.csv'))


def test_hidden_files_are_no_clips(root):
    (root / '.cache').mkdir()
    (root / 'run' / '._run 0.MP4').touch()
    found = scan_folders(str(root))
    assert [len(files) for files in found.videos.values()] == [4, 2, 1]


SMALL = dict(
    scale={(224, 224): (32, 32), (-1, 224): (-1, 32)},
    crop_size={224: 32},
    num_frames={1024: 96},
    num_mels={},
)


def small(step):
    """A transform at the size of the shrunk model."""
    step = {
        key: SMALL[key].get(value, value) if key in SMALL else value
        for key, value in step.items()
    }
    if step['type'] == 'LogMelSpectrogram':
        step['num_mels'] = 36
    return step


def test_written_config_trains_and_validates(tmp_path, run):
    rng = np.random.default_rng(0)
    for name, shade in dict(dark=20, light=220).items():
        folder = tmp_path / 'mine' / name
        folder.mkdir(parents=True)
        for number in range(2):
            frames = np.full((20, 48, 64, 3), shade, np.uint8)
            sound = 0.1 * rng.standard_normal(16000).astype(np.float32)
            write_clip(str(folder / f'{number}.mp4'), frames, 10, sound)
    run(tmp_path / 'mine')
    cfg = Config.fromfile(tmp_path / 'mine' / 'mine_ca2st_k400.py')
    cfg.model = shrink(without_init(cfg.model.to_dict()))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        steps = loader.dataset.pipeline
        loader.dataset.pipeline = [small(step) for step in steps]
    cfg.train_cfg.update(max_epochs=1)
    cfg.update(
        param_scheduler=[],
        test_dataloader=None,
        test_cfg=None,
        test_evaluator=None,
        work_dir=str(tmp_path / 'work'),
        vis_backends=[],
        visualizer=dict(type='ActionVisualizer', vis_backends=[]),
        default_hooks=dict(checkpoint=None),
    )
    runner = Runner.from_cfg(cfg)
    before = runner.model.cls_head.fc_cls.weight.detach().clone()
    runner.train()
    assert runner.iter == 1
    assert before.shape[0] == 2
    assert (runner.model.cls_head.fc_cls.weight != before).any()
    scalars = runner.message_hub.log_scalars
    assert 0 <= scalars['val/acc/top1'].current() <= 1
    assert runner.val_dataloader.dataset.metainfo['classes'] == (
        'dark',
        'light',
    )
