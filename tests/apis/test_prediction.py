# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Where the names of classes come from, in which order."""

from types import SimpleNamespace

import pytest

from ca2st_mm.apis.prediction import names_of_model

TWO = SimpleNamespace(num_classes=2)
EPIC = SimpleNamespace(sizes=dict(verb=97, noun=300), num_classes=397)
STORED = dict(meta=dict(dataset_meta=dict(classes=('a', 'b'))))


def test_the_checkpoint_comes_first():
    assert names_of_model(TWO, STORED, {}) == dict(label=('a', 'b'))


def test_then_the_list_of_the_config(tmp_path):
    (tmp_path / 'names.txt').write_text('c\nd\n')
    dataset = dict(data_root=str(tmp_path), classes='names.txt')
    assert names_of_model(TWO, {}, dataset) == dict(label=('c', 'd'))


def test_then_those_of_the_benchmark():
    dataset = dict(data_root='data/epic_kitchens100', classes='gone.txt')
    names = names_of_model(EPIC, {}, dataset)
    assert (names['verb'][0], names['noun'][0]) == ('take', 'tap')
    assert {task: len(n) for task, n in names.items()} == EPIC.sizes


@pytest.mark.parametrize('root', ['data/mine', 'data/kinetics400'])
def test_then_numbers(root):
    # 44 classes, but nothing says that they are those of EPIC-SOUNDS.
    head = SimpleNamespace(num_classes=44)
    names = names_of_model(head, {}, dict(data_root=root))
    assert names['label'][:2] == ('0', '1') and len(names['label']) == 44


@pytest.mark.parametrize(
    'classes, message',
    [
        (['a', 'b', 'c'], "class 2 is None in the checkpoint, 'c'"),
        (['b', 'a'], "class 0 is 'a' in the checkpoint, 'b' in the config"),
    ],
)
def test_checkpoint_and_config_must_agree(classes, message):
    with pytest.raises(ValueError, match=message):
        names_of_model(TWO, STORED, dict(classes=classes))


@pytest.mark.parametrize(
    'classes, message',
    [
        (('a',), '2 classes, but there are names for 1 classes'),
        (dict(verb=('cut',), noun=('tap',)), '2 classes.*1 verb and 1 noun'),
    ],
)
def test_names_must_be_as_many_as_classes(classes, message):
    stored = dict(meta=dict(dataset_meta=dict(classes=classes)))
    with pytest.raises(ValueError, match=message):
        names_of_model(TWO, stored, {})
