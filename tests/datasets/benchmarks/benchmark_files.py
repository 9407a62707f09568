# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A small list in every form, and the clips in it."""

import csv
import json

from benchmark_lists import Clip, names_in_order, read_list
from prepare_benchmark import parse_args

from ca2st_mm.datasets.benchmarks import BENCHMARKS
from ca2st_mm.datasets.list_files import ListFile

EPIC_TEST_HEADER = (
    'narration_id,participant_id,video_id,narration_timestamp,'
    'start_timestamp,stop_timestamp,start_frame,stop_frame'
)
EPIC_HEADER = (
    f'{EPIC_TEST_HEADER},narration,verb,verb_class,noun,noun_class,all_nouns,'
    'all_noun_classes\n'
)
SOUNDS_TEST_HEADER = (
    'annotation_id,participant_id,video_id,start_timestamp,stop_timestamp,'
    'start_sample,stop_sample'
)
SOUNDS_HEADER = f'{SOUNDS_TEST_HEADER},description,class,class_id\n'


def narration(name, actions, **more):
    """A record of HD-EPIC."""
    facts = dict(unique_narration_id=name, main_action_classes=actions)
    return json.dumps(facts | more)


def clip(name, labels, files=None, video=(), start=None, end=None):
    return Clip(name, labels, files or (name,), video, start, end)


def clips(names, *labels):
    """Clips that are called as their files."""
    return [
        clip(name, label)
        for name, label in zip(names.split(), labels, strict=True)
    ]


_INSTANCES = [
    clip(f'a1_{n}', (label,), (f'v_a1_{n}', f'a1_{n}'), ('v_a1', 'a1'), *span)
    for n, label, *span in [(0, 17, 1.5, 2.5), (1, 3, 3.0, 4.0)]
]
_NARRATIONS = clips('P01_11_0 P01_11_1', (0, 2), (1, 2))
_HORN = '--g-f_I2yQ_000001.mp4 aaaaaaaaaaa_000110.mp4'
_UCF = 'ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi YoYo/v_YoYo_g25_c05.avi'

# (benchmark, split, file): text and clips.
FILES = {
    ('epic_kitchens_100', 'val', 'EPIC_100_validation.csv'): (
        EPIC_HEADER
        + 'P01_11_0,P01,P01_11,00:00:00.560,00:00:00.00,00:00:01.89,1,113,'
        'take plate,take,0,plate,2,"[\'plate\', \'cup\']","[2, 13]"\n'
        'P01_11_1,P01,P01_11,00:00:01.7,00:00:01.56,00:00:03.45,93,147,'
        "put,put-down,1,plate,2,['plate'],[2]\n",
        [
            clip('P01_11_0', (0, 2), None, ('P01_11',), 0, 1.89),
            clip('P01_11_1', (1, 2), None, ('P01_11',), 1.56, 3.45),
        ],
    ),
    ('epic_kitchens_100', 'val', 'val.csv'): (
        'P01_11_0,0,2\nP01_11_1,1,2\n',
        _NARRATIONS,
    ),
    ('epic_kitchens_100', 'val', 'epic100_val_gpt2_xl.csv'): (
        'a,b,c,d,e,f,g,h,i,j,k,l,m,n,o\n'
        'P01_11_0,0,2,5,take,plate,,,,"[\'x\']",,,1,113,\n'
        'P01_11_1,1,2,6,put,plate,,,,"[\'x, y\']",,,93,147,\n',
        _NARRATIONS,
    ),
    ('epic_kitchens_100', 'test', 'EPIC_100_test_timestamps.csv'): (
        f'{EPIC_TEST_HEADER}\n'
        'P01_103_0,P01,P01_103,00:00:00.84,00:00:00.00,00:00:01.84,1,92\n',
        [clip('P01_103_0', (), video=('P01_103',), start=0, end=1.84)],
    ),
    ('something_something_v2', 'val', 'validation.json'): (
        '[{"id": "74225", "label": "x", "template": "Closing [something]"},'
        '{"id": "116154", "label": "x", "template": "Holding [something]"}]',
        clips('74225 116154', (5,), (16,)),
    ),
    ('something_something_v2', 'val', 'val.csv'): (
        '74225.mp4 5\n116154.mp4 16\n',
        clips('74225.mp4 116154.mp4', (5,), (16,)),
    ),
    ('kinetics400', 'val', 'val.csv'): (
        'label,youtube_id,time_start,time_end,split,is_cc\n'
        'zumba,-5o_ES_I,6,16,val,0\n'
        'tai chi,abcdefghijk,106,116,val,0\n',
        # With and without the times, as downloaders call them.
        [
            clip(name, (label,), (name, name[:-14]))
            for name, label in [
                ('-5o_ES_I_000006_000016', 399),
                ('abcdefghijk_000106_000116', 346),
            ]
        ],
    ),
    ('kinetics400', 'val', 'kinetics_val.csv'): (
        '-5o_ES_I.mp4 399\nabcdefghijk.mp4 346\n',
        clips('-5o_ES_I.mp4 abcdefghijk.mp4', (399,), (346,)),
    ),
    ('kinetics_sound', 'test', 'my_test.txt'): (
        'id1,playing drums,30\nid2,bowling,0\n',
        clips('id1 id2', (30,), (0,)),
    ),
    ('kinetics_sound', 'test', 'val.csv'): (
        'label,youtube_id,time_start,time_end,split\n'
        'playing drums,id1,6,16,val\nzumba,id3,1,11,val\n',
        [clip('id1_000006_000016', (30,), ('id1_000006_000016', 'id1'))],
    ),
    ('kinetics_sound', 'test', 'kinetics_val.csv'): (
        'id1.mp4 230\nid3.mp4 399\nid2.mp4 31\n',
        clips('id1.mp4 id2.mp4', (30,), (0,)),
    ),
    ('activitynet', 'val', 'activity_net.v1-3.min.json'): (
        '{"database": {"a1": {"subset": "validation", "annotations": ['
        '{"label": "Capoeira", "segment": [1.5, 2.5]},'
        '{"label": "BMX", "segment": [3, 4]}]},'
        '"a2": {"subset": "training", "annotations": ['
        '{"label": "BMX", "segment": [3, 4]},'
        '{"label": "Capoeira", "segment": [0, 1]}]},'
        '"a3": {"subset": "testing", "annotations": []}}}',
        _INSTANCES,
    ),
    ('activitynet', 'val', 'val.csv'): (
        'video_id,t_start,t_end,video_duration,label\n'
        'v_a1,1.5,2.5,10,17\nv_a1,3,4,10,BMX\n',
        _INSTANCES,
    ),
    ('hd_epic', 'test', 'HD_EPIC_Narrations.json'): (
        narration(
            'P01-1',
            [[3, 4], [5, 6]],
            video_id='P01-2024',
            start_timestamp=1.5,
            end_timestamp=2.25,
        )
        + '\n'
        + narration('P01-6', [[96, 299]]),
        [
            clip('P01-1', (3, 4), video=('P01-2024',), start=1.5, end=2.25),
            clip('P01-6', (96, 299), video=('P01',)),
        ],
    ),
    ('hd_epic_sounds', 'test', 'HD_EPIC_Sounds.csv'): (
        'participant_id,video_id,start_timestamp,stop_timestamp,'
        'start_sample,stop_sample,class,class_id\n'
        'P01,P01-2024,x,x,48000,72000,click,16\n'
        'P01,P01-2024,x,x,0,0,beep,15\n',
        [
            clip(f'P01-2024-{edges}', (label,), None, ('P01-2024',), *span)
            for edges, label, *span in [
                ('48000-72000', 16, 1, 1.5),
                ('0-0', 15, 0, 1 / 30),  # the shortest clip
            ]
        ],
    ),
    ('epic_sounds', 'train', 'EPIC_Sounds_train.csv'): (
        SOUNDS_HEADER
        + 'P01_03_21,P01,P01_03,00:01:01.5,00:01:02.25,1,2,x,click,16\n'
        'P01_03_23,P01,P01_03,01:01:02.5,01:01:03,1,2,x,beep,15\n',
        [
            clip('P01_03_21', (16,), None, ('P01_03',), 61.5, 62.25),
            clip('P01_03_23', (15,), None, ('P01_03',), 3662.5, 3663),
        ],
    ),
    ('epic_sounds', 'test', 'EPIC_Sounds_recognition_test_timestamps.csv'): (
        f'{SOUNDS_TEST_HEADER}\n'
        'P02_106_0,P02,P02_106,00:00:03.855,00:00:04.142,92520,99408\n',
        [clip('P02_106_0', (), None, ('P02_106',), 3.855, 4.142)],
    ),
    ('vggsound', 'test', 'vggsound.csv'): (
        '--g-f_I2yQ,1,"bird chirping, tweeting",test\n'
        'zzzzzzzzzzz,2,air horn,train\n'
        'aaaaaaaaaaa,110,air horn,test\n',
        clips(_HORN.replace('.mp4', ''), (17,), (1,)),
    ),
    ('vggsound', 'test', 'test.csv'): (
        '--g-f_I2yQ_000001.mp4,"bird chirping, tweeting"\n'
        'aaaaaaaaaaa_000110.mp4,air horn\n',
        clips(_HORN, (17,), (1,)),
    ),
    ('vggsound', 'test', 'test_sel.csv'): (
        'name,text,id\n'
        '--g-f_I2yQ_000001.mp4,"bird chirping, tweeting",17\n'
        'aaaaaaaaaaa_000110.mp4,air horn,1\n',
        clips(_HORN, (17,), (1,)),
    ),
    ('ucf101', 'train_split1', 'trainlist01.txt'): (
        ' 1\n'.join(_UCF.split()) + ' 101\n',
        clips(_UCF, (0,), (100,)),
    ),
    ('ucf101', 'train_split1', 'trainlist01_audio.txt'): (
        ' 0\n'.join(_UCF.split()) + ' 100\n',
        clips(_UCF, (0,), (100,)),
    ),
    ('ucf101', 'test_split2', 'testlist02.txt'): (
        _UCF.replace(' ', '\n'),
        clips(_UCF, (0,), (100,)),
    ),
}


def text_of(key):
    """The text of a file."""
    return FILES[key][0]


def read(name, path, split, encoding=None):
    """The form of a file, and its clips."""
    benchmark, source = BENCHMARKS[name], ListFile(str(path), encoding)
    return read_list(benchmark, source, split, names_in_order(benchmark))


def rows_in(path):
    """Rows of a CSV file."""
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def arguments(name, **flags):
    """The command line that prepares a benchmark."""
    trimmed = ['--trimmed'] * BENCHMARKS[name].untrimmed
    args = parse_args(name, trimmed)
    vars(args).update(flags)
    return args
