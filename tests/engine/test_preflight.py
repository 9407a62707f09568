# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Missing files and other classes stop a run before it starts."""

import argparse
import threading

import pytest
from mmengine.config import Config
from tool_runs import run_tool

from ca2st_mm import zoo
from ca2st_mm.engine.launch import UsageError, load_config, merge_options
from ca2st_mm.engine.preflight import (
    MissingFileError,
    check_classes,
    check_files,
)


@pytest.fixture
def cfg(tmp_path):
    """A config all of whose files exist."""
    for name in ('train.csv', 'val.csv', 'test.csv', 'clip.pth', 'run.pth'):
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


# file, mode that needs it, mode that does not, how to name another place
FILES = [
    ('train.csv', 'train', 'test', 'train_dataloader.dataset.dataset.ann_'),
    ('val.csv', 'train', 'test', 'val_dataloader.dataset.dataset.ann_file'),
    ('test.csv', 'test', 'train', 'test_dataloader.dataset.dataset.ann_file'),
    ('videos', 'test', None, 'test_dataloader.dataset.dataset.data_prefix.vi'),
    ('clip.pth', 'train', 'test', 'model.backbone.experts.a.init_cfg.checkp'),
    ('run.pth', 'train', None, 'on the command line'),
    ('run.pth', 'test', None, 'on the command line'),
]


@pytest.mark.parametrize('name, mode, other, option', FILES)
def test_each_missing_file_is_named_with_its_place(
    cfg, tmp_path, name, mode, other, option
):
    check_files(cfg, mode)
    (tmp_path / name).rename(tmp_path / 'moved')
    with pytest.raises(MissingFileError) as caught:
        check_files(cfg, mode)
    message = str(caught.value)
    assert f'put it at {tmp_path / name}' in message and option in message
    first, *lines = message.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f'  {tmp_path / name}: ')
    if other:
        check_files(cfg, other)


def test_all_missing_files_come_at_once(cfg, tmp_path, monkeypatch):
    cfg.model.init_cfg = [
        dict(type='Normal'),
        dict(type='Pretrained', checkpoint='nowhere.pth'),
    ]
    for name in ('train.csv', 'val.csv'):
        (tmp_path / name).unlink()
    cfg.model.experts = [
        dict(init_cfg=dict(checkpoint=f'zoo://{name}'))
        for name in ('clip_vit-base-p16_openai', 'no_such_weights')
    ]
    asked, fetch = [], zoo.fetch

    def look(source, offline=False):
        if offline:
            return fetch(source, offline=True)
        return asked.append(source)

    monkeypatch.setattr(zoo, 'fetch', look)
    monkeypatch.setenv('CA2ST_MM_HOME', str(tmp_path / 'home'))
    with pytest.raises(MissingFileError, match='5 files are missing') as error:
        check_files(cfg, 'train')
    lines = str(error.value).splitlines()[1:]
    for line, part in zip(
        lines,
        (
            'model.init_cfg.1.checkpoint=PATH',
            'train.csv: get the annotation file',
            'val.csv: ',
            'p16_openai are not on this machine: run `ca2st',
            "no_such_weights: there is no 'no_such_weights' here",
        ),
        strict=True,
    ):
        assert part in line
    assert not asked  # nothing is fetched in vain


@pytest.mark.parametrize('path', ['https://x.y/z.pth', 's3://b/z.pth', ''])
def test_urls_are_not_looked_up(cfg, path):
    cfg.model.backbone.experts.a.init_cfg.checkpoint = path
    check_files(cfg, 'train')


def config(head, dataset, loader='train_dataloader'):
    dataset = dict(ann_file='a.csv', **dataset)
    return Config(dict(model=dict(cls_head=head), **{loader: dataset}))


PAIR = dict(num_verbs=97, num_nouns=300)
LISTED = dict(classes='classes.txt')  # of two


@pytest.mark.parametrize(
    'head, dataset, words',
    [
        (dict(num_classes=2), LISTED, None),
        (dict(num_classes=3), LISTED, '3 classes.* 2 classes'),
        (
            dict(num_classes=2),
            dict(LISTED, num_classes=5),
            'num_classes=5.* are 2',
        ),
        (dict(num_classes=2), dict(classes='no.txt'), 'no.txt is missing'),
        (PAIR, dict(num_classes=dict(verb=97, noun=300)), None),
        (PAIR, dict(num_classes=dict(verb=97, noun=303)), '300 noun .*303'),
        (PAIR, dict(num_classes=97), 'of the other kind'),
        # What is not stated is not checked.
        (dict(num_classes=3), {}, None),
        ({}, dict(num_classes=3), None),
        # Every answer would be right.
        (dict(num_classes=1), {}, 'at least two classes'),
        (dict(num_verbs=1, num_nouns=1), {}, 'at least two classes'),
    ],
)
def test_classes_of_head_and_dataset(tmp_path, head, dataset, words):
    (tmp_path / 'classes.txt').write_text('one\n\ntwo\n')
    cfg = config(head, dict(dataset, data_root=str(tmp_path)))
    if words is None:
        return check_classes(cfg)
    with pytest.raises((UsageError, MissingFileError), match=words):
        check_classes(cfg)


def test_wrapped_data_sets_are_found():
    sets = [dict(ann_file='a', num_classes=n) for n in (3, 4)]
    loader = dict(dataset=dict(type='ConcatDataset', datasets=sets))
    model = dict(cls_head=dict(num_classes=3))
    with pytest.raises(UsageError, match='dataset.datasets.1 has 4'):
        check_classes(Config(dict(model=model, train_dataloader=loader)))


@pytest.mark.parametrize(
    'tool, ann_file, said',
    [('train', 'gone.csv', 'Cannot start'), ('test', 'a.csv', 'The head')],
)
def test_tools_stop_with_one_line(
    ann_file, said, tool, tmp_path, monkeypatch, capsys
):
    (tmp_path / 'a.csv').write_text('file,label\na.mp4,0\n')
    (tmp_path / 'a.pth').touch()
    (tmp_path / 'config.py').write_text(
        'model = dict(type="Recognizer3D", cls_head=dict(num_classes=400))\n'
        f'{tool}_dataloader = dict(dataset=dict(\n'
        f'    ann_file="{ann_file}", num_classes=7))\n'
    )
    checkpoint = ['a.pth'] if tool == 'test' else []
    monkeypatch.chdir(tmp_path)
    assert run_tool(f'{tool}.py', 'config.py', *checkpoint) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) <= 2 and lines[0].startswith(f'error: {said}')
    assert not (tmp_path / 'work_dirs').exists()


@pytest.mark.parametrize('workers', [0, 2])
def test_options_of_workers_go_where_there_are_none(tmp_path, workers):
    """By ``--cfg-options``; PyTorch ended with a traceback."""
    path = tmp_path / 'config.py'
    loader = 'val_dataloader = dict(persistent_workers=True)'
    path.write_text(f'{loader}\nmodel = dict()\n')
    flags = argparse.Namespace(
        config=str(path),
        cfg_options=[f'val_dataloader.num_workers={workers}'],
        launcher='none',
        local_rank=0,
        work_dir=None,
    )
    loader = load_config(flags).val_dataloader
    assert loader.get('persistent_workers', False) == (workers > 0)


@pytest.mark.parametrize(
    'options, words',
    [
        ({'test_dataloader': 1}, r'replace all of batch_size, dataset; name'),
        ({'model.backbone.experts': '[a]'}, r'replace all of a; name one'),
        ({'load_from.name': 'a.pth'}, 'load_from'),
    ],
)
def test_an_option_that_fits_no_config_is_named(cfg, options, words):
    """Each ended with a traceback, the first ones long after."""
    with pytest.raises(UsageError, match=words):
        merge_options(cfg, options)


def test_a_part_of_the_config_can_be_left_out_or_exchanged(cfg):
    merge_options(cfg, dict(val_dataloader=None, test_dataloader=dict(a=1)))
    assert cfg.val_dataloader is None and cfg.test_dataloader.a == 1


def test_all_weights_are_asked_for_at_once(cfg, monkeypatch):
    """One after the other, each would wait for the network to fail."""
    barrier = threading.Barrier(2)

    def fetch(name, offline):
        barrier.wait(timeout=60)
        raise zoo.ZooError(f'no connection for {name}')

    monkeypatch.setattr(zoo, 'fetch', fetch)
    cfg.model.experts = [
        dict(init_cfg=dict(checkpoint=f'zoo://{name}'))
        for name in ('clip_vit-base-p16_openai', 'ast_base_audioset-10-10')
    ]
    with pytest.raises(MissingFileError) as error:
        check_files(cfg, 'train')
    assert str(error.value).count('\n  zoo://') == 2
