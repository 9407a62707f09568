# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A head and data of different classes stop a run before it starts."""

import runpy
from pathlib import Path

import pytest
from mmengine.config import Config

from ca2st_mm.engine.class_check import ClassCountError, check_classes
from ca2st_mm.engine.preflight import MissingFileError

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(
    path
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)


def config(head, dataset, loader='train_dataloader'):
    dataset = dict(ann_file='a.csv', **dataset)
    return Config(dict(model=dict(cls_head=head), **{loader: dataset}))


@pytest.mark.parametrize('mode', ['train', 'test'])
@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_our_configs_agree_with_themselves(path, mode, tmp_path):
    cfg = Config.fromfile(path)
    for name in ('train', 'val', 'test'):
        dataset = cfg[f'{name}_dataloader'].dataset
        if dataset.get('classes'):  # the toy's lists are made on demand
            count = cfg.model.cls_head.num_classes
            names = ''.join(f'{i}\n' for i in range(count))
            (tmp_path / dataset.classes).write_text(names)
            dataset.data_root = str(tmp_path)
    check_classes(cfg, mode)


@pytest.mark.parametrize(
    ('mode', 'loader'),
    [
        ('train', 'train_dataloader'),
        ('train', 'val_dataloader'),
        ('test', 'test_dataloader'),
    ],
)
def test_both_numbers_and_the_place_are_said(mode, loader):
    head = dict(num_classes=400)
    other = {'train': 'test', 'test': 'train'}[mode]
    cfg = config(head, dict(num_classes=7), loader)
    with pytest.raises(ClassCountError) as caught:
        check_classes(cfg, mode)
    message = str(caught.value)
    assert '400 classes' in message and '7 classes' in message
    assert loader in message and 'model.cls_head.num_classes=7' in message
    check_classes(cfg, other)


def test_class_list_counts(tmp_path):
    (tmp_path / 'classes.txt').write_text('one\n\ntwo\n')
    dataset = dict(data_root=str(tmp_path), classes='classes.txt')
    check_classes(config(dict(num_classes=2), dataset))
    with pytest.raises(ClassCountError, match='3 classes.* 2 classes'):
        check_classes(config(dict(num_classes=3), dataset))
    with pytest.raises(ClassCountError, match='num_classes=5.* are 2'):
        check_classes(
            config(dict(num_classes=2), dict(dataset, num_classes=5))
        )


def test_missing_class_list_is_named(tmp_path):
    dataset = dict(data_root=str(tmp_path), classes='gone.txt')
    with pytest.raises(MissingFileError, match='gone.txt is missing'):
        check_classes(config(dict(num_classes=2), dataset))


def test_verbs_and_nouns():
    head = dict(type='VerbNounHead', num_verbs=97, num_nouns=300)
    check_classes(config(head, dict(num_classes=dict(verb=97, noun=300))))
    with pytest.raises(ClassCountError, match='300 noun .*303 noun'):
        check_classes(config(head, dict(num_classes=dict(verb=97, noun=303))))
    with pytest.raises(ClassCountError, match='of the other kind'):
        check_classes(config(head, dict(num_classes=97)))


def test_wrapped_data_sets_are_found():
    cfg = Config(
        dict(
            model=dict(cls_head=dict(num_classes=3)),
            train_dataloader=dict(
                dataset=dict(
                    type='ConcatDataset',
                    datasets=[
                        dict(ann_file='a', num_classes=3),
                        dict(ann_file='b', num_classes=4),
                    ],
                )
            ),
        )
    )
    with pytest.raises(ClassCountError, match='dataset.datasets.1 has 4'):
        check_classes(cfg)


def test_what_is_not_stated_is_not_checked():
    check_classes(config(dict(num_classes=3), {}))
    check_classes(config({}, dict(num_classes=3)))
    check_classes(Config(dict(val_dataloader=None)))


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_tools_stop_with_one_line(tool, tmp_path, monkeypatch, capsys):
    (tmp_path / 'a.csv').write_text('file,label\na.mp4,0\n')
    (tmp_path / 'a.pth').touch()
    (tmp_path / 'config.py').write_text(
        'model = dict(type="Recognizer3D", cls_head=dict(num_classes=400))\n'
        f'{tool}_dataloader = dict(dataset=dict(\n'
        '    ann_file="a.csv", num_classes=7))\n'
    )
    checkpoint = ['a.pth'] if tool == 'test' else []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')  # the tool would leave it set
    monkeypatch.setattr('sys.argv', [tool, 'config.py', *checkpoint])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / f'tools/{tool}.py'), run_name='__main__')
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith('error: The head has 400 classes')
    assert len(said.strip().splitlines()) == 1
