# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A small copy of every form of annotation file, and how to read it."""

import csv
import json

from ca2st_mm.datasets.benchmarks import (
    BENCHMARKS,
    Clip,
    LeftOut,
    class_names,
    read_list,
)
from ca2st_mm.datasets.list_files import ListFile

EK_HEADER = (
    'narration_id,participant_id,video_id,narration_timestamp,'
    'start_timestamp,stop_timestamp,start_frame,stop_frame,narration,verb,'
    'verb_class,noun,noun_class,all_nouns,all_noun_classes\n'
)
ES_HEADER = (
    'annotation_id,participant_id,video_id,start_timestamp,stop_timestamp,'
    'start_sample,stop_sample,description,class,class_id\n'
)


def narration(name, actions, **more):
    return json.dumps(
        dict(
            unique_narration_id=name,
            video_id='P01-20240101',
            start_timestamp=1.5,
            end_timestamp=2.25,
            main_action_classes=actions,
            **more,
        )
    )


# (benchmark, split, file): text and the title of its form.
FILES = {
    ('epic_kitchens_100', 'val', 'EPIC_100_validation.csv'): (
        EK_HEADER
        + 'P01_11_0,P01,P01_11,00:00:00.560,00:00:00.00,00:00:01.89,1,113,'
        'take plate,take,0,plate,2,"[\'plate\', \'cup\']","[2, 13]"\n'
        'P01_11_1,P01,P01_11,01:00:01.7,01:00:01.56,01:00:02.45,93,147,'
        "put,put-down,1,plate,2,['plate'],[2]\n",
        'official CSV',
    ),
    ('epic_kitchens_100', 'val', 'val.csv'): (
        'P01_11_0,0,2\nP01_11_1,1,2\n',
        "'id,verb,noun'",
    ),
    ('epic_kitchens_100', 'val', 'epic100_val_gpt2_xl.csv'): (
        'a,b,c,d,e,f,g,h,i,j,k,l,m,n,o\n'
        'P01_11_0,0,2,5,take,plate,,,,"[\'x\']",,,1,113,\n'
        'P01_11_1,1,2,6,put,plate,,,,"[\'x, y\']",,,93,147,\n',
        'gpt2',
    ),
    ('something_something_v2', 'val', 'validation.json'): (
        json.dumps(
            [
                dict(id='74225', label='x', template='Closing [something]'),
                dict(id='116154', label='x', template='Holding [something]'),
            ]
        ),
        'official JSON',
    ),
    ('something_something_v2', 'val', 'val.csv'): (
        '74225.mp4 5\n116154.mp4 16\n',
        "'file label'",
    ),
    ('kinetics400', 'val', 'val.csv'): (
        'label,youtube_id,time_start,time_end,split,is_cc\n'
        'zumba,-5o_ES_I,6,16,val,0\n'
        'tai chi,abcdefghijk,106,116,val,0\n',
        'official CSV',
    ),
    ('kinetics400', 'val', 'kinetics_val.csv'): (
        '-5o_ES_I.mp4 399\nabcdefghijk.mp4 346\n',
        "'file label'",
    ),
    ('kinetics_sound', 'test', 'my_test.txt'): (
        'id1,playing drums,30\nid2,bowling,0\n',
        "'id,text,label'",
    ),
    ('kinetics_sound', 'test', 'val.csv'): (
        'label,youtube_id,time_start,time_end,split\n'
        'playing drums,id1,6,16,val\nzumba,id3,1,11,val\n'
        'bowling,id2,1,11,val\n',
        'official CSV of Kinetics-400',
    ),
    ('kinetics_sound', 'test', 'kinetics_val.csv'): (
        'id1.mp4 230\nid3.mp4 399\nid2.mp4 31\n',
        "'file label' of Kinetics-400",
    ),
    ('activitynet', 'val', 'activity_net.v1-3.min.json'): (
        json.dumps(
            dict(
                database=dict(
                    a1=dict(
                        subset='validation',
                        annotations=[
                            dict(label='Capoeira', segment=[1.5, 2.5]),
                            dict(label='BMX', segment=[3, 4]),
                        ],
                    ),
                    a2=dict(
                        subset='training',
                        annotations=[dict(label='BMX', segment=[3, 4])],
                    ),
                    a3=dict(subset='testing', annotations=[]),
                )
            )
        ),
        'official JSON',
    ),
    ('activitynet', 'val', 'val.csv'): (
        'video_id,t_start,t_end,video_duration,label\n'
        'v_a1,1.5,2.5,10,17\nv_a1,3,4,10,BMX\n',
        't_start and t_end',
    ),
    ('hd_epic', 'test', 'HD_EPIC_Narrations.json'): (
        '\n'.join(
            [
                narration('P01-1', [[3, 4], [5, 6]]),
                narration('P01-2', []),
                narration('P01-3', [[97, 4]]),
                narration('P01-4', [[3, 300]]),
                narration('P01-5', [[3]]),
                narration('P01-6', [[96, 299]]),
            ]
        ),
        'narrations',
    ),
    ('hd_epic_sounds', 'test', 'HD_EPIC_Sounds.csv'): (
        'participant_id,video_id,start_timestamp,stop_timestamp,'
        'start_sample,stop_sample,class,class_id\n'
        'P01,P01-2024,x,x,48000,72000,click,16\n'
        'P01,P01-2024,x,x,96000,96000,beep,15\n',
        'official CSV',
    ),
    ('epic_sounds', 'train', 'EPIC_Sounds_train.csv'): (
        ES_HEADER
        + 'P01_03_21,P01,P01_03,00:01:01.5,00:01:02.25,1,2,x,click,16\n'
        'P01_03_22,P01,P01_03,00:01:03.5,00:01:03.51,1,2,x,beep,15\n',
        'official CSV',
    ),
    ('epic_sounds', 'test', 'EPIC_Sounds_recognition_test_timestamps.csv'): (
        'annotation_id,participant_id,video_id,start_timestamp,'
        'stop_timestamp,start_sample,stop_sample\n'
        'P02_106_0,P02,P02_106,00:00:03.855,00:00:04.142,92520,99408\n'
        'P02_106_1,P02,P02_106,00:00:05.992,00:00:06.842,143808,164208\n',
        'without labels',
    ),
    ('epic_kitchens_100', 'test', 'EPIC_100_test_timestamps.csv'): (
        'narration_id,participant_id,video_id,narration_timestamp,'
        'start_timestamp,stop_timestamp,start_frame,stop_frame\n'
        'P01_103_0,P01,P01_103,00:00:00.840,00:00:00.00,00:00:01.84,1,92\n'
        'P01_103_1,P01,P01_103,00:00:02.1,00:00:01.56,00:00:02.45,78,122\n',
        'without labels',
    ),
    ('vggsound', 'test', 'vggsound.csv'): (
        '--g-f_I2yQ,1,"bird chirping, tweeting",test\n'
        'zzzzzzzzzzz,2,air horn,train\n'
        'aaaaaaaaaaa,110,air horn,test\n',
        "'vggsound.csv'",
    ),
    ('vggsound', 'test', 'test.csv'): (
        '--g-f_I2yQ_000001.mp4,"bird chirping, tweeting"\n'
        'aaaaaaaaaaa_000110.mp4,air horn\n',
        "'file,class'",
    ),
    ('vggsound', 'test', 'test_sel.csv'): (
        'name,text,id\n'
        '--g-f_I2yQ_000001.mp4,"bird chirping, tweeting",17\n'
        'aaaaaaaaaaa_000110.mp4,air horn,1\n',
        "'file,text,label'",
    ),
    ('ucf101', 'train_split1', 'trainlist01.txt'): (
        'ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\n'
        'YoYo/v_YoYo_g25_c05.avi 101\n',
        "official list 'class/file'",
    ),
    ('ucf101', 'train_split1', 'trainlist01_audio.txt'): (
        'ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 0\n'
        'YoYo/v_YoYo_g25_c05.avi 100\n',
        'clips with audio',
    ),
    ('ucf101', 'test_split2', 'testlist02.txt'): (
        'ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi\n'
        'YoYo/v_YoYo_g25_c05.avi\n',
        "official list 'class/file'",
    ),
}


def text_of(key):
    """The text of a file."""
    return FILES[key][0]


def read(name, path, split, encoding=None):
    """The form of a file, its clips, and those that a rule leaves out."""
    benchmark, source = BENCHMARKS[name], ListFile(str(path), encoding)
    form, found = read_list(benchmark, source, split, class_names(benchmark))
    clips = [clip for clip in found if isinstance(clip, Clip)]
    return form, clips, [clip for clip in found if isinstance(clip, LeftOut)]


def manifest(path):
    """Rows of a CSV file."""
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))
