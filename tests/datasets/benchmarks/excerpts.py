# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A few rows of every benchmark's own annotation files, and their media.

Rows of :data:`OFFICIAL` files are real; those of the others have the form of
the official file and real or likely names.
"""

import json

OFFICIAL = {
    ('kinetics400', 'val.csv'),
    ('something_something_v2', 'val.csv'),
    ('epic_kitchens_100', 'EPIC_100_validation.csv'),
    ('epic_sounds', 'EPIC_Sounds_validation.csv'),
    ('epic_sounds', 'EPIC_Sounds_recognition_test_timestamps.csv'),
    ('vggsound', 'test.csv'),
}

_K400 = 'jf7RDuUTrsQ.mp4 325\nKSPA_DzZUQw.mp4 399\n'
_SSV2 = '30152.mp4 128\n134668.mp4 173\n'
EPIC_TEST_HEADER = (
    'narration_id,participant_id,video_id,narration_timestamp,'
    'start_timestamp,stop_timestamp,start_frame,stop_frame'
)
EPIC_HEADER = (
    f'{EPIC_TEST_HEADER},narration,verb,verb_class,noun,noun_class,all_nouns,'
    'all_noun_classes\n'
)
EPIC_TEST_HEADER += '\n'
SOUNDS_TEST_HEADER = (
    'annotation_id,participant_id,video_id,start_timestamp,stop_timestamp,'
    'start_sample,stop_sample'
)
SOUNDS_HEADER = f'{SOUNDS_TEST_HEADER},description,class,class_id\n'
SOUNDS_TEST_HEADER += '\n'
_EK100 = (
    EPIC_HEADER
    + 'P01_11_0,P01,P01_11,00:00:00.560,00:00:00.00,00:00:01.89,1,113,'
    "take plate,take,0,plate,2,['plate'],[2]\n"
    'P08_09_0,P08,P08_09,00:00:00.830,00:00:01.10,00:00:02.75,66,165,'
    "enter kitchen,enter,67,kitchen,157,['kitchen'],[157]\n"
)
_EK100_TEST = (
    EPIC_TEST_HEADER
    + 'P01_103_0,P01,P01_103,00:00:00.84,00:00:00.00,00:00:01.84,1,92\n'
    'P01_103_1,P01,P01_103,00:00:02.10,00:00:01.56,00:00:02.45,78,122\n'
)
_SOUNDS = (
    SOUNDS_HEADER
    + 'P01_11_0,P01,P01_11,00:00:02.069,00:00:02.993,49656,71832,'
    'clang / clatter,ceramic / wood collision,34\n'
    'P01_13_18,P01,P01_13,00:01:23.000,00:01:31.000,1992000,2184000,'
    'unlabelled,drink / eat,43\n'
)
_SOUNDS_TEST = (
    SOUNDS_TEST_HEADER
    + 'P02_106_0,P02,P02_106,00:00:03.855,00:00:04.142,92520,99408\n'
    'P02_106_1,P02,P02_106,00:00:05.992,00:00:06.842,143808,164208\n'
)
_VGG = (
    'glLQrEijrKg_000300.mp4,playing hammond organ\n'
    '5uanE7YxW0E_000000.mp4,zebra braying\n'
)
_KS = 'jf7RDuUTrsQ,bowling,0\nZzUQw000001,playing drums,30\n'
_UCF = 'ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\nYoYo/v_YoYo_g25_c05.avi\n'


_INSTANCES = [
    dict(label='Applying sunscreen', segment=[0.1, 1.2]),
    dict(label='Playing badminton', segment=[1.0, 2.9]),
]
_ACTIVITYNET = dict(
    database={
        '4Lu8ECLHvK4': dict(subset='training', annotations=_INSTANCES),
        '5n7NCViB5TU': dict(subset='validation', annotations=_INSTANCES),
    }
)


def narration(name, actions, **more):
    """A record of HD-EPIC."""
    facts = dict(unique_narration_id=name, main_action_classes=actions)
    return json.dumps(facts | more)


_HD_EPIC = '\n'.join(
    [
        narration('P01-20240202-110250-0', [[1, 5]]),
        narration('P09-20240622-143219-7', [[96, 299]]),
    ]
)
_HD_SOUNDS = (
    'participant_id,video_id,start_timestamp,stop_timestamp,start_sample,'
    'stop_sample,class,class_id\n'
    'P01,P01-20240202-110250,x,x,1200,56000,x,0\n'
    'P02,P02-20240209-184316,x,x,480,90000,x,43\n'
)

# Benchmark -> annotation file -> text.
LISTS = dict(
    kinetics400={'train.csv': _K400, 'val.csv': _K400},
    something_something_v2={'train.csv': _SSV2, 'val.csv': _SSV2},
    activitynet={'activity_net.v1-3.min.json': json.dumps(_ACTIVITYNET)},
    epic_kitchens_100={
        'EPIC_100_train.csv': _EK100,
        'EPIC_100_validation.csv': _EK100,
        'EPIC_100_test_timestamps.csv': _EK100_TEST,
        # lists for the metric, not the official ones
        'EPIC_100_unseen_participant_ids_validation.csv': (
            'participant_id\nP08\n'
        ),
        'EPIC_100_tail_verbs.csv': 'verb\n10\n67\n',
        'EPIC_100_tail_nouns.csv': 'noun\n56\n',
    },
    hd_epic={'HD_EPIC_Narrations.json': _HD_EPIC},
    epic_sounds={
        'EPIC_Sounds_train.csv': _SOUNDS,
        'EPIC_Sounds_validation.csv': _SOUNDS,
        'EPIC_Sounds_recognition_test_timestamps.csv': _SOUNDS_TEST,
    },
    hd_epic_sounds={'HD_EPIC_Sounds.csv': _HD_SOUNDS},
    vggsound={'train.csv': _VGG, 'test.csv': _VGG},
    kinetics_sound={'my_train.txt': _KS, 'my_test.txt': _KS},
    ucf101={'trainlist01.txt': _UCF, 'testlist01.txt': _UCF},
)
_CUTS = ('P01_11_0', 'P01_13_18', 'P02_106_0', 'P02_106_1')
# Benchmark -> its files below data/<folder>.
MEDIA = dict(
    kinetics400=['videos/jf7RDuUTrsQ.mp4', 'videos/KSPA_DzZUQw.mp4'],
    something_something_v2=['videos/30152.mp4', 'videos/134668.mp4'],
    activitynet=['videos/v_4Lu8ECLHvK4.mp4', 'videos/v_5n7NCViB5TU.mp4'],
    epic_kitchens_100=[
        'videos/P01/videos/P01_11.MP4',
        'videos/P08/videos/P08_09.MP4',
        'videos/P01/videos/P01_103.MP4',
    ],
    hd_epic=[
        'videos/P01-20240202-110250-0.mp4',
        'videos/P09-20240622-143219-7.mp4',
    ],
    epic_sounds=[f'videos/{name}.mp4' for name in _CUTS]
    + [f'wav/{name}.wav' for name in _CUTS],
    hd_epic_sounds=[
        'videos/P01-20240202-110250-1200-56000.mp4',
        'videos/P02-20240209-184316-480-90000.mp4',
    ],
    vggsound=[
        'videos/glLQrEijrKg_000300.mp4',
        'videos/5uanE7YxW0E_000000.mp4',
    ],
    kinetics_sound=['videos/jf7RDuUTrsQ.mp4', 'videos/ZzUQw000001.mp4'],
    ucf101=[f'videos/{name}' for name in _UCF.split()],
)
# Only one clip of Kinetics has no audio.
SILENT = 'KSPA_DzZUQw.mp4'
UNTRIMMED = ('activitynet', 'epic_kitchens_100')
OWN_AUDIO = ('epic_sounds',)
