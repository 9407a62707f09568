# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Class folders in, a config that trains out."""

import functools
import os
import re
import runpy
import shlex
import tempfile
from pathlib import Path

import numpy as np
import pytest
from from_folders import split_videos
from miniature import load, runner_of
from mmengine.config import Config
from tool_runs import run_tool

from ca2st_mm.datasets import AudioVisualDataset
from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.engine.preflight import check_classes

ROOT = Path(__file__).resolve().parents[2]
CLIPS = dict(jump=4, run=2, walk=1)


@functools.cache
def smallest():
    """The bytes of a clip of two frames without audio."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'a.mp4')
        write_clip(str(path), np.zeros((2, 32, 32, 3), np.uint8), 10)
        return path.read_bytes()


def lay_out(root, clips=CLIPS, deep='deep'):
    for name, count in clips.items():
        folder = Path(root, name, deep)
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f'{number}.MP4').write_bytes(smallest())


@pytest.fixture
def root(tmp_path):
    lay_out(tmp_path / 'my clips')
    return tmp_path / 'my clips'


@pytest.fixture
def run(capsys):
    """Run the tool; returns what it prints."""

    def call(*arguments):
        assert run_tool('data/from_folders.py', *arguments) == 0
        return capsys.readouterr().out

    return call


@pytest.fixture
def refuse(capsys):
    """Run the tool, which must stop with one line; returns it."""

    def call(*arguments):
        assert run_tool('data/from_folders.py', *arguments) == 2
        said = capsys.readouterr().err.strip()
        assert said.startswith('error: ') and '\n' not in said
        return said

    return call


def rows_of(root):
    """Path and label of every clip, and the names of the classes."""
    rows = []
    for name in ('train.csv', 'val.csv'):
        data = AudioVisualDataset(
            name,
            [],
            data_root=str(root),
            classes='classes.txt',
            serialize_data=False,
        )
        infos = [data.get_data_info(i) for i in range(len(data))]
        rows += [(info['filename'], info['label']) for info in infos]
    return rows, data.metainfo['classes']


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
    for hidden in ('.cache/x.mp4', 'run/.x/y.mp4', 'walk/._0.MP4'):
        (root / hidden).parent.mkdir(exist_ok=True)
        (root / hidden).touch()
    os.mkfifo(root / 'run' / 'pipe.mp4')
    more = '.ts .wmv .gif .flv .3gp .mts .m2ts .vob .ogv .MPG .webm'.split()
    for extension in more:
        (root / 'jump' / f'x{extension}').write_bytes(smallest())
    (root / 'run' / 'broken.mp4').symlink_to('nowhere')
    (root / 'jump' / 'damaged.mp4').write_bytes(smallest()[:60])
    said = run(root)
    assert '3 classes, 14 clips to train and 4 to validate' in said
    assert 'not in the validation set: walk' in said
    assert 'no videos of a class: 2, such as notes.txt' in said
    assert 'as a video: 1, such as jump/damaged.mp4' in said
    assert 'hidden: 3' in said and 'no regular files: 2' in said
    rows, names = rows_of(root)
    assert names == ('jump', 'run', 'walk')
    assert len(rows) == len(set(rows)) == sum(CLIPS.values()) + len(more)
    for filename, label in rows:
        assert Path(filename).is_file()
        assert names[label] in Path(filename).parts
    assert not list(root.glob('.*.part*'))


@pytest.mark.parametrize('links', [dict(self='.'), dict(self='.', up='..')])
def test_links_make_no_loop(root, run, refuse, links):
    for link, target in links.items():
        (root / 'jump' / link).symlink_to(target)
    (root / 'run' / 'same.mp4').symlink_to('deep/0.MP4')
    elsewhere = root.parent / 'elsewhere'
    lay_out(elsewhere, dict(swim=2))
    (root / 'swim').symlink_to(elsewhere / 'swim')
    said = run(root)
    assert f'listed already: {len(links) + 1}' in said
    files = [os.path.realpath(name) for name, _ in rows_of(root)[0]]
    assert len(files) == len(set(files)) == 9
    (root / 'walk' / 'same.mp4').symlink_to(root / 'run' / 'deep' / '0.MP4')
    assert "also in the class 'run'" in refuse(root, '--overwrite')


@pytest.mark.parametrize(
    'name',
    [' lead', 'trail ', 'a\u2028b', '跑', 'a,"b"', "it's", '#x', 'a\x0cb'],
)
def test_odd_names_are_found_again(tmp_path, run, name):
    root = tmp_path / (name.replace('"', '') + ' clips')
    lay_out(root, {name: 2, 'b': 2}, deep=name)
    run(root)
    rows, names = rows_of(root)
    assert len(rows) == 4 and all(Path(file).is_file() for file, _ in rows)
    assert name.strip() in names
    cfg = Config.fromfile(next(root.glob('*.py')))
    assert cfg.train_dataloader.dataset.data_root == str(root)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('new\nline', 'on one line'),
        (' b', 'a name of its own'),
        ('跑'.encode('gbk').decode(errors='surrogateescape'), 'not UTF-8'),
    ],
)
def test_names_that_no_list_can_hold(tmp_path, refuse, name, message):
    lay_out(tmp_path / 'set', {name: 2, 'b': 2})
    assert message in refuse(tmp_path / 'set')
    lay_out(tmp_path / 'deep', {'a': 1, 'b': 2})
    os.rename(
        tmp_path / 'deep/a/deep/0.MP4', tmp_path / f'deep/a/deep/{name}.mp4'
    )
    if 'UTF-8' in message:
        assert message in refuse(tmp_path / 'deep')
    for folder in ('set', 'deep'):
        assert not list((tmp_path / folder).glob('*.*'))  # nothing written


@pytest.mark.parametrize(
    'base', ['ca2st/ca2st_k400', 'toy/ca2st_toy', 'toy/ca2st_small']
)
def test_written_config(base, root, run):
    run(root, '--base', ROOT / f'configs/{base}.py')
    # The folder may move to a machine where the package lies elsewhere.
    root = root.rename(root.parent / 'moved')
    path = root / f'my clips_{Path(base).name}.py'
    assert f"_base_ = 'ca2st_mm::{base}.py'" in path.read_text()
    cfg = Config.fromfile(path)
    assert cfg.model.cls_head.num_classes == 3
    assert cfg.model.backbone.type == 'MultiExpertBackbone'
    assert cfg.work_dir == f'work_dirs/{path.stem}'
    for mode in ('train', 'test'):
        check_classes(cfg, mode)
    original = Config.fromfile(ROOT / f'configs/{base}.py')
    lists = {}
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        lists[split] = dataset.ann_file
        assert Path(dataset.data_root) == root
        # The toy keeps its clips in a folder of their own.
        assert dataset.data_prefix == dict(video='', audio='')
        # The rate that the weights of AST expect; the rest as in the base.
        [load] = [s for s in dataset.pipeline if s.type == 'LoadAudio']
        assert (load.sample_rate, load.missing_audio) == (16000, 'drop')
        steps = original[f'{split}_dataloader'].dataset.pipeline
        for step in steps:
            if step.type == 'LoadAudio':
                step.sample_rate = 16000
                step.missing_audio = 'drop'
        assert steps == dataset.pipeline
    assert lists == dict(train='train.csv', val='val.csv', test='val.csv')


def test_project_and_data_move_together(tmp_path, run):
    here = tmp_path / 'here'
    (here / 'configs').mkdir(parents=True)
    base = Config.fromfile(ROOT / 'configs/toy/ca2st_toy.py')
    base.dump(here / 'configs/base.py')
    lay_out(here / 'data/mine')
    (tmp_path / 'link').symlink_to(here / 'data')
    run(tmp_path / 'link/mine', '--base', here / 'configs/base.py')
    here.rename(tmp_path / 'there')
    moved = tmp_path / 'there/data/mine'
    cfg = Config.fromfile(moved / 'mine_base.py')
    assert cfg.val_dataloader.dataset.data_root == str(moved)
    assert len(rows_of(moved)[0]) == sum(CLIPS.values())


def test_nothing_is_replaced_unasked(root, run, refuse):
    run(root)
    (root / 'val.csv').write_text('mine')
    assert 'val.csv' in refuse(root)
    assert (root / 'val.csv').read_text() == 'mine'
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


def test_clips_without_audio_are_counted_and_follow_the_flag(
    root, run, refuse
):
    assert '7 of 7 clips have no audio, such as' in refuse(
        root, '--missing-audio', 'raise'
    )
    alone = ROOT / 'configs/toy/clip_toy.py'
    other = ROOT / 'configs/toy/ca2st_toy.py'
    text = other.read_text().replace('../_base_', str(ROOT / 'configs/_base_'))
    plain = root.parent / 'no_presence.py'
    plain.write_text(
        text + 'train_dataloader = dict(dataset=dict(pipeline=[\n'
        "    dict(type='LoadAudio'), dict(type='PackActionInputs')]))\n"
    )
    flags = ('--missing-audio', 'drop', '--base')
    assert 'cannot do without' in refuse(root, *flags, plain)
    said = run(root, *flags, alone, '--overwrite')
    assert 'no audio' not in said  # the model does not use it
    said = run(root, '--missing-audio', 'silence', '--overwrite')
    assert "7 of 7 clips have no audio: missing_audio='silence'" in said
    cfg = Config.fromfile(root / 'my clips_ca2st_small.py')
    for split in ('train', 'val', 'test'):
        steps = cfg[f'{split}_dataloader'].dataset.pipeline
        [load] = [step for step in steps if step.type == 'LoadAudio']
        assert load.missing_audio == 'silence'


def test_folders_of_one_name_have_work_dirs_of_their_own(
    root, run, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path / 'other/my clips')
    said = [run(root)]
    (tmp_path / 'work_dirs/my clips_ca2st_small').mkdir(parents=True)
    said += [run(tmp_path / 'other/my clips'), run(root, '--overwrite')]
    used = [re.search(r"--model '?([^'\n]+)", text)[1] for text in said]
    assert used[0] == used[2] == 'work_dirs/my clips_ca2st_small'
    assert used[1] == 'work_dirs/other_my clips_ca2st_small'


def test_written_config_trains_and_validates(tmp_path, run):
    rng = np.random.default_rng(0)
    for name, shade in dict(dark=20, light=220).items():
        folder = tmp_path / 'mine' / name
        folder.mkdir(parents=True)
        for number in range(2):
            frames = np.full((20, 48, 64, 3), shade, np.uint8)
            audio = 0.1 * rng.standard_normal(16000).astype(np.float32)
            write_clip(str(folder / f'{number}.mp4'), frames, 10, audio)
    run(tmp_path / 'mine', '--base', ROOT / 'configs/ca2st/ca2st_k400.py')
    cfg = load(tmp_path / 'mine' / 'mine_ca2st_k400.py')
    runner = runner_of(cfg, tmp_path / 'work')
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


def test_the_commands_that_it_prints_are_understood(root, run, monkeypatch):
    lines = [
        shlex.split(line)
        for line in run(root).splitlines()
        if line.startswith('  python tools/')
    ]
    tools = [Path(tool).stem for _, tool, *_ in lines]
    assert tools[:3] == ['check', 'train', 'predict']
    for _, tool, *arguments in [*lines[:3], lines[-1]]:
        monkeypatch.setattr('sys.argv', [tool, *arguments])
        monkeypatch.syspath_prepend(str((ROOT / tool).parent))
        runpy.run_path(str(ROOT / tool))['parse_args']()
    assert Config.fromfile(lines[1][2]).work_dir == lines[2][-1]
