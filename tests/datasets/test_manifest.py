# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Annotation files in, samples or one clear sentence out."""

import numpy as np
import pytest
from mmaction.datasets.transforms import PackActionInputs
from mmaction.registry import DATASETS

from ca2st_mm.datasets import AudioVisualDataset


@pytest.fixture
def make(tmp_path):
    """Build a data set from the text of its annotation file."""

    def build(text, name='list.csv', **kwargs):
        (tmp_path / name).write_text(text)
        return AudioVisualDataset(
            ann_file=name, data_root=str(tmp_path), pipeline=[], **kwargs
        )

    return build


def test_registered():
    assert DATASETS.get('AudioVisualDataset') is AudioVisualDataset


def test_manifest_with_all_columns(make, tmp_path):
    data = make(
        'file,audio,start,end,label,text\n'
        'a b.mp4,a.wav,1.5,3,2,"x, y"\n'
        '/far/b.mp4,,,,0,z\n',
        num_classes=3,
        data_prefix=dict(video='v', audio='s'),
    )
    first, second = data.get_data_info(0), data.get_data_info(1)
    assert first['filename'] == str(tmp_path / 'v' / 'a b.mp4')
    assert first['audio_path'] == str(tmp_path / 's' / 'a.wav')
    assert (first['clip_start'], first['clip_end']) == (1.5, 3.0)
    assert first['label'] == 2
    assert second['filename'] == '/far/b.mp4'
    assert second['audio_path'] is None
    assert second['clip_start'] is None and second['clip_end'] is None


def test_verb_and_noun_become_one_long_tensor(make):
    data = make(
        'file,verb,noun\na.mp4,3,250\n', num_classes=dict(verb=97, noun=300)
    )
    info = data.get_data_info(0)
    np.testing.assert_array_equal(info['label'], [3, 250])
    packed = PackActionInputs(collect_keys=())(info)
    assert packed['data_samples'].gt_label.tolist() == [3, 250]


@pytest.mark.parametrize('name', ['list.txt', 'list.csv'])
def test_mmaction_list(make, tmp_path, name):
    data = make(
        'a b.mp4 1\n\nc.mp4 0\n', name, data_prefix=dict(video='videos')
    )
    names = [data.get_data_info(i)['filename'] for i in range(len(data))]
    assert names == [
        str(tmp_path / 'videos' / n) for n in ('a b.mp4', 'c.mp4')
    ]


def test_classes_file_sets_names_and_size(make, tmp_path):
    (tmp_path / 'classes.txt').write_text('one\ntwo\n')
    data = make('file,label\na.mp4,1\n', classes='classes.txt')
    assert data.metainfo['classes'] == ('one', 'two')
    assert data.num_classes == 2
    with pytest.raises(ValueError, match=r'line 2: label 2 .*0 to 1'):
        make('file,label\na.mp4,2\n', classes='classes.txt')


def test_class_lists_of_verbs_and_nouns(make, tmp_path):
    (tmp_path / 'verbs.txt').write_text('take\nput\n')
    classes = dict(verb='verbs.txt', noun=['tap'])
    data = make('file,verb,noun\na.mp4,1,0\n', classes=classes)
    assert data.metainfo['classes'] == dict(
        verb=('take', 'put'), noun=('tap',)
    )
    with pytest.raises(ValueError, match=r'line 2: noun 1 .*for 1 classes'):
        make('file,verb,noun\na.mp4,1,1\n', classes=classes)


def test_class_list_and_number_must_agree(make):
    with pytest.raises(ValueError, match='num_classes=3, .* are 2;'):
        make('file,label\na.mp4,0\n', classes=['a', 'b'], num_classes=3)


def test_class_named_twice(make, tmp_path):
    (tmp_path / 'classes.txt').write_text('one\none\n')
    with pytest.raises(ValueError, match="names 'one' twice"):
        make('file,label\na.mp4,0\n', classes='classes.txt')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'is empty'),
        ('path,label\na.mp4,0\n', "expected a CSV header .*'file'"),
        ('file,class\na.mp4,0\n', "no labels to learn: add .* 'label'"),
        ('file,verb\na.mp4,0\n', "both 'verb' and 'noun'"),
        ('file,label\n', 'no row'),
        ('file,label\na.mp4,1\nb.mp4,5\n', 'line 3: label 5 is out of range'),
        ('file,label\na.mp4,-1\n', 'line 2: label -1 is out of range'),
        ('file,label\na.mp4,dog\n', "line 2: label 'dog' is not a class"),
        ('file,label\n,1\n', "line 2: the column 'file' is empty"),
        ('file,start,label\na.mp4,00:01,1\n', "start '00:01' is not a time"),
        ('file,start,end,label\na.mp4,3,2,1\n', 'ends at 2.0 s but starts'),
        ('a.mp4 1\nb.mp4\n', "line 2: expected 'path label'"),
        ('a.mp4 7\n', 'line 1: label 7 is out of range'),
    ],
)
def test_mistakes_are_named(make, text, message):
    with pytest.raises(ValueError, match=message):
        make(text, num_classes=3)


def test_unknown_label_column_in_num_classes(make):
    with pytest.raises(ValueError, match='unknown keys'):
        make('file,label\na.mp4,0\n', num_classes=dict(verbs=97))


def test_the_id_of_a_clip_reaches_its_sample(tmp_path):
    (tmp_path / 'a.csv').write_text(
        'id,file,label\nP01_11_0,a.mp4,3\n,b.mp4,1\n'
    )
    data = AudioVisualDataset(str(tmp_path / 'a.csv'), [], num_classes=4)
    ids = [data.get_data_info(i)['clip_id'] for i in range(len(data))]
    assert ids == ['P01_11_0', None]


def test_a_test_set_may_have_no_labels(tmp_path):
    """Absent, not guessed: there is no key at all."""
    (tmp_path / 'a.csv').write_text('id,file\nP01_11_0,a.mp4\n')
    data = AudioVisualDataset(
        str(tmp_path / 'a.csv'), [], num_classes=4, test_mode=True
    )
    assert 'label' not in data.get_data_info(0)
    (tmp_path / 'b.csv').write_text('file,label\na.mp4,\n')
    with pytest.raises(ValueError, match="line 2: label '' is not a class"):
        AudioVisualDataset(str(tmp_path / 'b.csv'), [], test_mode=True)
