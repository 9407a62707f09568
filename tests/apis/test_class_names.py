# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Where the names of classes come from, in which order."""

from types import SimpleNamespace

import pytest

from ca2st_mm.apis.class_names import names_of_model

TWO = SimpleNamespace(num_classes=2)
EPIC = SimpleNamespace(sizes=dict(verb=97, noun=300), num_classes=397)


def stored(*names):
    return dict(dataset_meta=dict(classes=names))


def test_the_checkpoint_comes_first():
    names = names_of_model(TWO, stored('a', 'b'), {})
    assert names == dict(label=('a', 'b'))


def test_then_the_list_of_the_config(tmp_path):
    (tmp_path / 'names.txt').write_text('c\nd\n')
    dataset = dict(data_root=str(tmp_path), classes='names.txt')
    assert names_of_model(TWO, {}, dataset) == dict(label=('c', 'd'))


def test_then_those_of_the_benchmark():
    dataset = dict(data_root='data/epic_kitchens100', classes='gone.txt')
    names = names_of_model(EPIC, {}, dataset)
    assert (names['verb'][0], names['noun'][0]) == ('take', 'tap')
    assert {task: len(n) for task, n in names.items()} == EPIC.sizes


def test_then_numbers():
    # 44 classes, but nothing says that they are those of EPIC-SOUNDS.
    head = SimpleNamespace(num_classes=44)
    names = names_of_model(head, {}, dict(data_root='data/mine'))
    assert names['label'][:2] == ('0', '1') and len(names['label']) == 44


def test_a_benchmark_of_another_size_gives_no_names():
    names = names_of_model(TWO, {}, dict(data_root='data/kinetics400'))
    assert names == dict(label=('0', '1'))


def test_lists_of_other_lengths_are_both_named():
    dataset = dict(classes=['a', 'b', 'c'])
    with pytest.raises(ValueError, match='2 names in the checkpoint, 3 in'):
        names_of_model(TWO, stored('a', 'b'), dataset)


def test_verbs_and_nouns_do_not_name_plain_classes():
    classes = dict(verb=('cut',), noun=('tap',))
    meta = dict(dataset_meta=dict(classes=classes))
    with pytest.raises(ValueError, match='2 classes.*1 verb and 1 noun'):
        names_of_model(TWO, meta, {})
