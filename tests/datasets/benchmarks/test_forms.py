# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Every form of annotation file is told by its content and read right."""

import json
import random

import pytest
from benchmark_files import FILES, SOUNDS_HEADER, narration, read, text_of
from benchmark_lists import LeftOut, read_list

from ca2st_mm.datasets.benchmarks import BENCHMARKS
from ca2st_mm.datasets.list_files import ListFile
from ca2st_mm.utils.text_files import ListFileError


@pytest.fixture
def parse(tmp_path):
    """Write a text and read it."""

    def call(name, split, text):
        path = tmp_path / 'list.csv'
        path.write_text(text)
        return read(name, path, split)

    return call


@pytest.mark.parametrize('key', FILES, ids='-'.join)
def test_clips_of_each_form(key, parse):
    text, expected = FILES[key]
    assert parse(*key[:2], text)[1] == expected


def test_every_form_has_a_case(parse):
    cases = {
        (name, parse(name, split, text)[0].title)
        for (name, split, _), (text, _) in FILES.items()
    }
    assert len(BENCHMARKS) == 10
    assert cases == {
        (name, form['title'])
        for name, benchmark in BENCHMARKS.items()
        for form in benchmark.forms
    }


def test_splits_of_one_list_are_told_apart(parse):
    key = ('activitynet', 'val', 'activity_net.v1-3.min.json')
    assert parse(key[0], 'train', text_of(key))[1][0].id == 'a2_0'
    key = ('vggsound', 'test', 'vggsound.csv')
    assert len(parse(key[0], 'train', text_of(key))[1]) == 1


@pytest.mark.parametrize(
    ('name', 'split', 'text', 'reason'),
    [
        *(
            ('hd_epic', 'test', narration('a', actions), 'main action')
            for actions in ([], [[97, 4]], [[3, 300]], [[3]])
        ),
        (
            'epic_sounds',
            'train',
            SOUNDS_HEADER
            + 'P01_03_22,P01,P01_03,00:01:03.5,00:01:03.51,1,2,x,beep,15\n',
            'authors leave it out',
        ),
    ],
)
def test_what_rules_leave_out_has_a_reason(name, split, text, reason, parse):
    [left_out] = parse(name, split, text)[1]
    assert isinstance(left_out, LeftOut) and reason in left_out.reason


@pytest.mark.parametrize('key', [k for k in FILES if 'timestamps' in k[2]])
def test_a_list_without_labels_is_a_test_set_only(key, parse):
    with pytest.raises(ListFileError, match='no labels'):
        parse(key[0], 'train', text_of(key))


def test_narrations_as_pandas_writes_them(parse):
    """By lines, as a list, by columns: the same clips."""
    key = ('hd_epic', 'test', 'HD_EPIC_Narrations.json')
    records = [json.loads(line) for line in text_of(key).splitlines()]
    columns = {
        name: {str(i): record.get(name) for i, record in enumerate(records)}
        for name in records[0]
    }
    for value in (records, columns):
        assert parse(*key[:2], json.dumps(value))[1] == FILES[key][1]


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'latin-1'])
def test_encodings_and_line_ends_of_official_files(encoding, tmp_path):
    key = ('ucf101', 'test_split2', 'testlist02.txt')
    path = tmp_path / key[2]
    text = '\n  \n' + text_of(key).replace('v_YoYo', 'é_YoYo')
    path.write_bytes(text.replace('\n', '\r\n').encode(encoding))
    if encoding == 'latin-1':
        with pytest.raises(ListFileError, match=f'{key[2]}.*--encoding'):
            read(key[0], path, key[1])
    clips = read(key[0], path, key[1], encoding='latin-1')[1]
    assert clips[1].id == 'YoYo/é_YoYo_g25_c05.avi'


def test_kinetics_sound_needs_classes_of_kinetics(tmp_path):
    key = ('kinetics_sound', 'test', 'kinetics_val.csv')
    path = tmp_path / 'list.txt'
    path.write_text(text_of(key))
    source, benchmark = ListFile(str(path)), BENCHMARKS[key[0]]
    for names in (['playing drums', 'bowling'], ['bowling', 'playing drums']):
        _, clips = read_list(benchmark, source, 'test', dict(label=names))
        assert [clip.labels[0] for clip in clips] == [
            names.index(name) for name in ('playing drums', 'bowling')
        ]
    with pytest.raises(ListFileError, match="no class 'drums'.*--classes"):
        read_list(benchmark, source, 'test', dict(label=['drums']))


NET = 'video_id,t_start,t_end,video_duration,label\na,1,4 s,9,BMX\n'
CUT = {'a': {'subset': 'validation', 'annotations': [{'segment': [1]}]}}
PIT = '{"unique_narration_id": "a", "main_action_classes": [["pit", 4]]}\n'
CLICK = 'a,P01,P01_03,00:01:03.5,00:01:04,1,2,x,click,17\n'
# Benchmark, split, text and what is said of it.
MISTAKES = [
    ('epic_kitchens_100', 'val', 'a,97,2\n', 'verb 97 is out of range for 97'),
    ('epic_kitchens_100', 'val', 'a,0,2\nb,x,2\n', "line 2: 'x' is none of"),
    ('epic_kitchens_100', 'val', 'a,0,2\n,1,2\n', "line 2: the column 'id'"),
    ('epic_kitchens_100', 'val', 'what,is,this\n', "with 'what,.*ial CSV; "),
    ('epic_kitchens_100', 'val', ' \n', 'is empty'),
    ('kinetics400', 'val', 140_000 * 'x', 'starts with .xxxx'),
    ('vggsound', 'test', 'file,text,label\na,air horn,300\n', 'class 300 is'),
    ('epic_sounds', 'train', SOUNDS_HEADER + CLICK, "17 is called 'click'"),
    ('kinetics_sound', 'test', 'a,bowling,1\n', "'ripping paper' in our list"),
    ('ucf101', 'train_split1', 'YoYo/a.avi 50\n', "49 is called 'YoYo'"),
    ('ucf101', 'test_split1', 'YoYoo/a.avi\n', "'YoYoo' is none of the 101"),
    ('activitynet', 'val', NET, "t_end '4 s' is not a time"),
    (
        'activitynet',
        'val',
        json.dumps({'database': CUT}),
        'video a: a segment',
    ),
    ('activitynet', 'val', '{"database": {"a": {}}}', "column 'subset' is"),
    ('something_something_v2', 'val', '[]', r"starts with '\[\]'"),
    ('hd_epic', 'test', PIT, "record 1: 'pit' is none of the 97"),
    ('hd_epic', 'test', PIT + 'x\n', 'line 2 is not JSON'),
]


@pytest.mark.parametrize(('name', 'split', 'text', 'message'), MISTAKES)
def test_mistakes_are_named(name, split, text, message, parse):
    with pytest.raises(ListFileError, match=message):
        parse(name, split, text)


@pytest.mark.parametrize(
    'count', [300, pytest.param(6000, marks=pytest.mark.slow)]
)
def test_mutated_files_give_clips_or_one_sentence(tmp_path, count):
    rng = random.Random(count)
    path = tmp_path / 'fuzz.csv'
    for _ in range(count):
        key = rng.choice(list(FILES))
        data = bytearray(text_of(key).encode())
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data) + 1)
            insert = [b',', b'"', b'\n', b'{', b'[', b']', b'1', b'', b':']
            insert += [b'null', b'9' * 5000, bytes([rng.randrange(256)])]
            data[at : at + rng.randrange(8)] = rng.choice(insert)
        path.write_bytes(data)
        try:
            read(key[0], path, key[1])
        except ListFileError as error:
            assert 'fuzz.csv' in str(error) and '\n' not in str(error)
