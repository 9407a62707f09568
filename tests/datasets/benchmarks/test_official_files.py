# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The official annotation files next to the checkout: counts and ranges."""

import csv
from pathlib import Path

import pytest
from benchmark_files import read, rows_in

from ca2st_mm.datasets.benchmarks import BENCHMARKS, class_names, shipped_names

ANNOTATIONS = (
    Path(__file__).resolve().parents[3].parent / 'shared' / 'annotations'
)
pytestmark = pytest.mark.skipif(
    not ANNOTATIONS.is_dir(),
    reason='the official files (../shared/annotations) are not next to this '
    'checkout',
)
EK = 'epic_kitchens_100'
# benchmark, split, file, rows, first clip, last clip
FILES = """
epic_kitchens_100 val EPIC_100_validation.csv 9668 P01_11_0 P32_10_9
epic_kitchens_100 val cast_val.csv 9668 P20_05_0 P28_26_9
something_something_v2 val val.csv 24777 30152.mp4 217714.mp4
kinetics400 val val.csv 19796 jf7RDuUTrsQ.mp4 5G94o6UdX2w.mp4
epic_sounds val EPIC_Sounds_validation.csv 8035 P01_11_0 P32_10_77
epic_sounds test EPIC_Sounds_recognition_test_timestamps.csv 5131 P02_106_0 \
P34_113_211
vggsound test test.csv 15446 glLQrEijrKg_000300.mp4 E75i9rHDHaE_000000.mp4
"""


def rows_of(name):
    with open(ANNOTATIONS / name, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize('line', FILES.strip().splitlines())
def test_counts_ends_and_labels(line):
    name, split, file, rows, first, last = line.split()
    form, clips = read(name, ANNOTATIONS / name / file, split)
    rows = int(rows)
    assert len(clips) == rows == form.counts.get(split, rows)
    assert (clips[0].id, clips[-1].id) == (first, last)
    assert len({clip.id for clip in clips}) == rows
    if not clips[0].labels:
        assert not any(clip.labels for clip in clips)
        return
    sizes = [len(n) for n in class_names(BENCHMARKS[name]).values()]
    for column, size in enumerate(sizes):
        labels = [clip.labels[column] for clip in clips]
        assert min(labels) == 0 and max(labels) < size
        if len(sizes) == 1:  # every class of a single label occurs
            assert set(labels) == set(range(size))


def test_both_forms_of_epic_kitchens_say_the_same():
    forms = [
        read(EK, ANNOTATIONS / EK / file, 'val')[1]
        for file in ('EPIC_100_validation.csv', 'cast_val.csv')
    ]
    official, authors = ({c.id: c.labels for c in clips} for clips in forms)
    assert official == authors


def test_epic_kitchens_videos_and_times():
    path = ANNOTATIONS / EK / 'EPIC_100_validation.csv'
    rows = {row['narration_id']: row for row in rows_of(f'{EK}/{path.name}')}
    info = rows_of(f'{EK}/EPIC_100_video_info.csv')
    durations = {row['video_id']: float(row['duration']) for row in info}
    for clip in read(EK, path, 'val')[1]:
        assert clip.video == (rows[clip.id]['video_id'],)
        assert 0 <= clip.start < clip.end
        assert clip.start < durations[clip.video[0]]


def test_epic_sounds_times_agree_with_samples():
    path = ANNOTATIONS / 'epic_sounds/EPIC_Sounds_validation.csv'
    rows = rows_of('epic_sounds/EPIC_Sounds_validation.csv')
    clips = read('epic_sounds', path, 'val')[1]
    for row, clip in zip(rows, clips, strict=True):
        assert clip.start == pytest.approx(
            int(row['start_sample']) / 24_000, abs=2e-3
        )
        assert clip.end > clip.start


def test_kinetics_sound_is_cut_out_of_kinetics_by_name():
    path = ANNOTATIONS / 'kinetics400/val.csv'
    whole = read('kinetics400', path, 'val')[1]
    part = read('kinetics_sound', path, 'test')[1]
    names = shipped_names('kinetics400.txt')
    audible = shipped_names('kinetics_sound.txt')
    expected = {
        clip.id: names[clip.labels[0]]
        for clip in whole
        if names[clip.labels[0]] in audible
    }
    assert {clip.id: audible[clip.labels[0]] for clip in part} == expected
    assert set(expected.values()) == set(audible)


@pytest.mark.parametrize(
    ('shipped', 'file'),
    [
        ('activitynet', 'activitynet/label_map.txt'),
        ('kinetics400', 'kinetics400/label_map_k400.txt'),
        ('kinetics_sound', 'kinetics_sound/classes.txt'),
        ('something_something_v2', 'something_something_v2/label_map.txt'),
        ('ucf101', 'ucf101/label_map.txt'),
        ('vggsound', 'vggsound/stat.csv'),
        (f'{EK}_verb', f'{EK}/EPIC_100_verb_classes.csv'),
        (f'{EK}_noun', f'{EK}/EPIC_100_noun_classes.csv'),
        (f'{EK}_verb', 'hd_epic/HD_EPIC_verb_classes.csv'),
        (f'{EK}_noun', 'hd_epic/HD_EPIC_noun_classes.csv'),
    ],
)
def test_shipped_class_names(shipped, file):
    names = shipped_names(f'{shipped}.txt')
    if 'classes.csv' in file:  # HD-EPIC has more nouns
        official = [row['key'] for row in rows_of(file)][: len(names)]
    elif file.endswith('.csv'):
        with open(ANNOTATIONS / file, newline='') as rows:
            official = sorted(row[0] for row in csv.reader(rows))
    else:
        lines = (ANNOTATIONS / file).read_text().split('\n')
        official = [name.strip() for name in lines if name.strip()]
    assert names == official


def test_preparing_the_official_file(data):
    data.add('videos/P01_11.MP4')
    said = data.prepare(
        EK,
        lists=dict(val=str(ANNOTATIONS / EK / 'EPIC_100_validation.csv')),
        splits=('val',),
        trimmed=False,
    )
    assert '9,668 rows, as published' in said
    rows = rows_in(data.root / 'val.csv')
    missing = rows_in(data.root / 'val_missing.csv')
    assert f'found {len(rows):,} of 9,668' in said
    assert len(rows) + len(missing) == 9_668
    assert {row['file'] for row in rows} == {'videos/P01_11.MP4'}
    assert all(row['id'].startswith('P01_11_') for row in rows)
