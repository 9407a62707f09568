# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Annotation files in, samples or one clear sentence out."""

import random

import numpy as np
import pytest
from mmaction.datasets.transforms import PackActionInputs
from mmengine.logging import MMLogger

from ca2st_mm.datasets import AudioVisualDataset
from ca2st_mm.datasets.annotations import annotation_text, read_annotations
from ca2st_mm.registry import DATASETS
from ca2st_mm.utils.text_files import ListFileError

# Names that file systems allow and lists must survive.
ODD_NAMES = [
    ' leading.mp4',
    'trailing .mp4 ',
    'new\nline.mp4',
    'carriage\rreturn.mp4',
    'a\u2028b\u2029c\x0bd\x0ce\x85f.mp4',
    'comma, "quotes" and\ttab.mp4',
    '"quoted".mp4',
    '跑步 é.mp4',
    '12:30:00 run.mp4',
    '#1;2|3.mp4',
]


@pytest.fixture
def make(tmp_path):
    """Build a data set from the text or bytes of its annotation file."""

    def build(text, name='list.csv', **kwargs):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(data)
        # Serialising collects garbage, which takes half a second here.
        kwargs = dict(data_root=str(tmp_path), serialize_data=False) | kwargs
        return AudioVisualDataset(name, [], **kwargs)

    return build


@pytest.fixture
def warned(caplog):
    """What is logged as a warning, as one string."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield lambda: caplog.text
    logger.removeHandler(caplog.handler)


def files_of(data):
    return [data.get_data_info(i)['filename'] for i in range(len(data))]


def test_all_columns(make, tmp_path):
    data = make(
        'id,file,audio,start,end,label\n'
        'c1,a b.mp4,a.wav,1.5,3,2\n'
        ',/far/b.mp4,,,,0\n',
        num_classes=3,
        data_prefix=dict(video='v', audio='s'),
    )
    first, second = data.get_data_info(0), data.get_data_info(1)
    assert first['filename'] == str(tmp_path / 'v' / 'a b.mp4')
    assert first['audio_path'] == str(tmp_path / 's' / 'a.wav')
    assert (first['clip_start'], first['clip_end']) == (1.5, 3.0)
    assert (first['label'], first['clip_id']) == (2, 'c1')
    assert second['filename'] == '/far/b.mp4'
    empty = ('audio_path', 'clip_start', 'clip_end', 'clip_id')
    assert all(second[key] is None for key in empty)


def test_verb_and_noun_become_one_long_tensor(make):
    data = make(
        'file,verb,noun\na.mp4,3,250\n', num_classes=dict(verb=97, noun=300)
    )
    info = data.get_data_info(0)
    np.testing.assert_array_equal(info['label'], [3, 250])
    assert len(set(data.get_cat_ids(0))) == 2
    packed = PackActionInputs(collect_keys=())(info)
    assert packed['data_samples'].gt_label.tolist() == [3, 250]


@pytest.mark.parametrize('name', ['list.txt', 'list.csv'])
def test_mmaction_list(make, tmp_path, name):
    data = make('a b.mp4 1\n\nc,d.mp4\t0\n', name)
    assert files_of(data) == [
        str(tmp_path / n) for n in ('a b.mp4', 'c,d.mp4')
    ]
    assert [data.get_data_info(i)['label'] for i in range(2)] == [1, 0]


@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_every_name_comes_back(make, tmp_path, end):
    rows = [dict(file=name, label=i) for i, name in enumerate(ODD_NAMES)]
    text = annotation_text('list.csv', ('label', 'file'), rows)
    if end != '\n':  # names hold line breaks themselves
        text = text.replace('\n', end).replace('new\r\nline', 'new\nline')
    data = make(text)
    assert files_of(data) == [f'{tmp_path}/{name}' for name in ODD_NAMES]
    labels = [data.get_data_info(i)['label'] for i in range(len(data))]
    assert labels == list(range(len(ODD_NAMES)))
    # Blanks after commas are style if the header has them.
    data = make('label, file, start\n1, a b.mp4, 0.5\n 0, " c.mp4",\n')
    assert files_of(data) == [f'{tmp_path}/a b.mp4', f'{tmp_path}/ c.mp4']
    with pytest.raises(ListFileError, match=r'x.csv.*not UTF-8.*udcc5'):
        annotation_text('x.csv', ['file'], [dict(file='\udcc5.mp4')])


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-32', 'gbk'])
@pytest.mark.parametrize('text', ['file,label\n跑.mp4,1\n', '\n跑.mp4 1\n'])
def test_encodings(make, tmp_path, encoding, text):
    stated = dict(encoding='gbk') if encoding == 'gbk' else {}
    assert files_of(make(text.encode(encoding), **stated)) == [
        str(tmp_path / '跑.mp4')
    ]


@pytest.mark.parametrize(
    ('data', 'kwargs', 'message'),
    [
        ('跑 1'.encode('gbk'), {}, 'not text in utf-8; .*encoding'),
        ('跑 1'.encode('gbk'), dict(encoding='ascii'), 'utf-8 or ascii'),
        ('跑 1'.encode('gbk'), dict(encoding='klingon'), 'knows no encoding'),
        ('file,label'.encode('utf-16-le'), {}, 'zero bytes'),
        (b'\xff\xfe\x00', {}, 'not text in utf-16'),
        (b'\x80\x04\x95', {}, 'is a pickle'),
    ],
)
def test_unknown_encodings_are_one_sentence(make, data, kwargs, message):
    with pytest.raises(ListFileError, match=f'list.csv.*{message}'):
        make(data, **kwargs)
    with pytest.raises(ListFileError, match=f'list.csv.*{message}'):
        make('file,label\na,0\n', 'x.csv', classes='list.csv', **kwargs)


def test_class_lists(make, tmp_path):
    (tmp_path / 'classes.txt').write_text('one\n two\u2028three \n\n')
    data = make('file,label\na.mp4,1\n', classes='classes.txt')
    assert data.metainfo['classes'] == ('one', 'two\u2028three')
    assert data.num_classes == 2
    with pytest.raises(ListFileError, match=r'line 2: label 2 .*0 to 1'):
        make('file,label\na.mp4,2\n', classes='classes.txt')
    for wrong, message in (
        (dict(classes=['a', 'b'], num_classes=3), 'num_classes=3, .* are 2;'),
        (dict(num_classes=dict(verbs=97)), 'unknown columns'),
        (dict(num_classes=1), 'single class'),
        (dict(classes=['only']), 'single class'),
    ):
        with pytest.raises(ValueError, match=message):
            make('file,label\na.mp4,0\n', **wrong)
    (tmp_path / 'classes.txt').write_text('one\none\n')
    with pytest.raises(ListFileError, match="names 'one' twice"):
        make('file,label\na.mp4,0\n', classes='classes.txt')
    classes = dict(verb=['take', 'put'], noun=['tap'])
    data = make('file,verb,noun\na.mp4,1,0\n', classes=classes)
    assert data.metainfo['classes'] == dict(
        verb=('take', 'put'), noun=('tap',)
    )
    with pytest.raises(ListFileError, match=r'line 2: noun 1 .*for 1 classes'):
        make('file,verb,noun\na.mp4,1,1\n', classes=classes)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'is empty'),
        (' \n\t\n', 'is empty'),
        ('a.mp4,0\n', 'expected a CSV header'),
        ('a.mp4, 0\n', 'expected a CSV header'),
        ('file,verb\na.mp4,0\n', "both 'verb' and 'noun'"),
        ('file\na.mp4\n', "no labels to learn: add .* 'label'"),
        ('file,label\n', 'no row'),
        ('file,label,label\na,1,2\n', "the column 'label' 2 times"),
        ('file,label\na.mp4,1\nb.mp4,5\n', 'line 3: label 5 is out of range'),
        ('\nfile,label\n\na.mp4,-1\n', "line 4: label '-1' is not a whole"),
        ('file,label\na.mp4,dog\n', "line 2: label 'dog' is not a whole"),
        ('file,label\n"a\nb.mp4",1\nc,x\n', "line 4: label 'x' is not a who"),
        ('file,label\n,1\n', "line 2: the column 'file' is empty"),
        ('label,file\n1,a,b.mp4\n', 'line 2: 3 values for the 2 columns'),
        ('file,label\n"a.mp4,1\nb.mp4,1\n', 'line 2: .*double quotes'),
        ('file,label\n' + 140_000 * 'x', 'line 2: field larger'),
        ('file,start,label\na.mp4,0 s,1\n', "start '0 s' is not a time"),
        ('file,start,label\na.mp4,nan,1\n', "start 'nan' is not a time"),
        ('file,start,end,label\na.mp4,3,2,1\n', 'ends at 2.0 s but starts'),
        ('a.mp4 1\nb.mp4\n', "line 2: expected 'path label'"),
        ('a.mp4 7\n', 'line 1: label 7 is out of range'),
    ],
)
def test_mistakes_are_named(make, text, message):
    with pytest.raises(ListFileError, match=f'list.csv.*{message}'):
        make(text, num_classes=3)


@pytest.mark.parametrize(
    ('header', 'renames'),
    [
        ('path,label', {'path': 'file'}),
        ('video_path,class', {'video_path': 'file', 'class': 'label'}),
        ('file,start_time,end_time,label', dict(start_time='start')),
        ('file,t_start,t_end,label', {'t_end': 'end'}),
        ('File,Label', {'File': 'file', 'Label': 'label'}),
        ('file,lable', {'lable': 'label'}),
        ('file,verb_class,noun_class', {'noun_class': 'noun'}),
        ('file,audio_path,label', {'audio_path': 'audio'}),
    ],
)
def test_likely_columns_are_suggested(make, header, renames):
    with pytest.raises(ListFileError) as said:
        make(header + '\na.mp4' + ',1' * header.count(',') + '\n')
    for wrong, right in renames.items():
        assert f"'{wrong}' to '{right}'" in str(said.value)


def test_what_is_read_with_a_warning(make, warned):
    make('file,label,text,class\na.mp4,1,"x, y",z\n')
    assert 'text, class are not used' in warned()


def test_repeated_clips_are_reported(make, warned):
    make('file,start,end,label\na,0,1,0\na,1,2,0\nb,,,1\n')
    assert not warned()
    make('file,label\na.mp4,0\na.mp4,1\nb.mp4,1\n./b.mp4,1\n')
    assert '2 rows repeat' in warned() and '1 of them with other' in warned()
    assert "'a.mp4' in line 3" in warned()


def test_a_test_set_may_have_no_labels(make):
    """Absent, not guessed: there is no key at all."""
    data = make('id,file\nP01_11_0,a.mp4\n', num_classes=4, test_mode=True)
    assert 'label' not in data.get_data_info(0)
    with pytest.raises(ValueError, match='no labels to balance'):
        data.get_cat_ids(0)
    with pytest.raises(ListFileError, match="line 2: the column 'label'"):
        make('file,label\na.mp4,\n', test_mode=True)


@pytest.mark.parametrize(
    ('wrapper', 'length'),
    [
        (lambda data: data, 12),  # the rare class three times
        (lambda data: dict(type='RepeatDataset', dataset=data, times=2), 24),
        (lambda data: dict(type='ConcatDataset', datasets=[data, data]), 24),
    ],
)
def test_classes_can_be_balanced(tmp_path, wrapper, length):
    rows = ''.join(f'{i}.mp4,{int(i == 0)}\n' for i in range(10))
    (tmp_path / 'list.csv').write_text('file,label\n' + rows)
    data = dict(
        type='AudioVisualDataset',
        ann_file=str(tmp_path / 'list.csv'),
        pipeline=[],
        serialize_data=False,
    )
    balanced = DATASETS.build(
        dict(
            type='ClassBalancedDataset',
            dataset=wrapper(data),
            oversample_thr=0.5,
        )
    )
    assert len(balanced) == length
    labels = [balanced.get_data_info(i)['label'] for i in range(length)]
    assert labels == [balanced.get_cat_ids(i)[0] for i in range(length)]


LISTS = [
    'file,label\n跑 1.mp4,0\n"a, b.mp4",1\nc.mp4,2\n',
    'id,file,audio,start,end,label\r\n1,a.mp4,a.wav,0.5,2,1\r\n2,b.mp4,,,,0',
    'file,verb,noun\na.mp4,1,2\nb.mp4,0,0\n',
    'a.mp4 0\nb c.mp4 1\n',
]


def mutated(rng):
    """A list with a few bytes changed, moved, left out or put in."""
    encoding = rng.choice(['utf-8', 'utf-8', 'utf-16', 'gbk'])
    data = bytearray(rng.choice(LISTS).encode(encoding))
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        insert = rng.choice(
            [b',', b'"', b'\n', b'\r', b' ', b'-', b'\0', b'\xff', b'9' * 30]
            + ['\u2028'.encode(), bytes([rng.randrange(256)]), b'']
        )
        data[at : at + rng.randrange(4)] = insert
    return bytes(data)


@pytest.mark.parametrize(
    'count', [300, pytest.param(6000, marks=pytest.mark.slow)]
)
def test_mutated_lists_give_rows_or_one_sentence(tmp_path, count):
    rng = random.Random(count)
    path, read = tmp_path / 'fuzz.csv', 0
    for _ in range(count):
        path.write_bytes(mutated(rng))
        try:
            rows = read_annotations(str(path), {}, 'gbk')
        except ListFileError as error:
            assert 'fuzz.csv' in str(error) and '\n' not in str(error)
        else:
            read += 1
            assert all(row['file'].strip() for row in rows)
            assert '\0' not in ''.join(row['file'] for row in rows)
    assert 0.1 < read / count < 0.9
