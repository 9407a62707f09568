# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Lists and files in, annotation files and an honest report out."""

from pathlib import Path

import numpy as np
import prepare_benchmark
import pytest
from benchmark_files import rows_in
from tool_runs import run_tool

from ca2st_mm.datasets import AudioVisualDataset
from ca2st_mm.datasets.benchmarks import BENCHMARKS
from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.utils.text_files import ListFileError

TOOLS = Path(__file__).resolve().parents[3] / 'tools/data'
EK = ('epic_kitchens_100', 'val', 'EPIC_100_validation.csv')
EK_PLAIN = ('epic_kitchens_100', 'val', 'val.csv')
K400 = ('kinetics400', 'val', 'val.csv')
UCF = ('ucf101', 'train_split1', 'trainlist01.txt')
PARTIAL = dict(allow_partial=True)


def test_an_untrimmed_list_is_what_the_data_set_reads(data):
    data.add_list(EK)
    data.add('videos/P01/videos/P01_11.MP4')
    with pytest.raises(
        ListFileError, match='has 2 rows, fewer .* 9,668 .*--al'
    ):
        data.prepare(EK[0], trimmed=False)
    assert not (data.root / 'val.csv').exists()
    said = data.prepare(EK[0], trimmed=False, **PARTIAL)
    assert '2 rows, fewer than the 9,668 published' in said
    assert 'val: found 2 of 2' in said
    dataset = AudioVisualDataset(
        'val.csv',
        [],
        data_root=str(data.root),
        classes=dict(verb='classes_verb.txt', noun='classes_noun.txt'),
        serialize_data=False,
    )
    info = dataset.get_data_info(1)
    assert info['filename'] == str(data.videos / 'P01/videos/P01_11.MP4')
    assert (info['clip_start'], info['clip_end']) == (1.56, 3.45)
    assert info['label'].tolist() == [1, 2]
    assert len(dataset.metainfo['classes']['verb']) == 97
    assert dataset.metainfo['classes']['noun'][2] == 'plate'


def test_a_trimmed_list_has_no_times(data):
    data.add_list(EK_PLAIN)
    data.add('videos/P01_11_0.mp4', 'videos/P01_11_1.mkv')
    data.prepare(EK[0], **PARTIAL)
    assert rows_in(data.root / 'val.csv') == [
        dict(file='videos/P01_11_0.mp4', verb='0', noun='2', id='P01_11_0'),
        dict(file='videos/P01_11_1.mkv', verb='1', noun='2', id='P01_11_1'),
    ]


def test_a_clip_that_ends_before_it_starts_is_left_out(data):
    text = 'video_id,t_start,t_end,video_duration,label\n'
    text += 'a,4,3,9,BMX\na,1,2,9,BMX\n'
    (data.lists / 'val.csv').write_text(text)
    data.add('videos/v_a.mp4')
    data.prepare('activitynet', trimmed=False, keep_missing=True)
    (row,) = rows_in(data.root / 'val.csv')
    assert (row['start'], row['end']) == ('1', '2')
    (missing,) = rows_in(data.root / 'val_missing.csv')
    assert missing['id'] == 'a_0' and 'before it starts' in missing['reason']


def test_a_complete_list_is_accepted(data, monkeypatch):
    form = BENCHMARKS['vggsound'].forms[0]
    monkeypatch.setitem(form['counts'], 'test', 1_000)
    rows = ''.join(f'{i:011d},30,air horn,test\n' for i in range(1_000))
    (data.lists / 'vggsound.csv').write_text(rows)
    data.add('videos/00000000000_000030.mp4')
    said = data.prepare('vggsound', splits=('test',))
    assert '1,000 rows, as published' in said
    again = '00000000000,30,zebra braying,test\n'
    (data.lists / 'vggsound.csv').write_text(rows + again)
    with pytest.raises(ListFileError, match='1,001 rows, more than the 1,000'):
        data.prepare('vggsound', splits=('test',))
    monkeypatch.setitem(form['counts'], 'test', 1_001)
    said = data.prepare('vggsound', splits=('test',))
    assert '1 rows repeat a clip, 1 of them with other labels' in said


def test_links_make_no_loop_and_files_elsewhere_have_full_names(
    data, tmp_path
):
    data.add_list(K400)
    data.add('videos/-5o_ES_I.mp4')
    for name in ('self', 'copy'):
        (data.videos / name).symlink_to('.')
    data.prepare('kinetics400')
    [row] = rows_in(data.root / 'val.csv')
    assert row['file'] == 'videos/-5o_ES_I.mp4'
    data.videos = data.videos.rename(tmp_path / 'far')
    data.prepare('kinetics400')
    [row] = rows_in(data.root / 'val.csv')
    assert row['file'] == str(tmp_path / 'far' / '-5o_ES_I.mp4')


def test_missing_files_are_counted_listed_and_left_out(data):
    data.add_list(K400)
    data.add('videos/zumba/-5o_ES_I_000006_000016.mp4')
    said = data.prepare('kinetics400')
    assert 'val: found 1 of 2' in said
    assert 'published number is not known' in said
    assert [row['file'] for row in rows_in(data.root / 'val.csv')] == [
        'videos/zumba/-5o_ES_I_000006_000016.mp4'
    ]
    assert rows_in(data.root / 'val_missing.csv') == [
        dict(id='abcdefghijk_000106_000116', reason='no video file')
    ]
    said = data.prepare('kinetics400', keep_missing=True)
    assert '2 clips' in said and '1 of them without a file' in said
    expected = [row['file'] for row in rows_in(data.root / 'val.csv')]
    assert expected[1] == 'videos/abcdefghijk_000106_000116.mp4'
    assert len(rows_in(data.root / 'val_missing.csv')) == 1
    # Later the file is there: nothing is missing any more.
    data.add('videos/abcdefghijk.mp4')
    data.prepare('kinetics400')
    assert len(rows_in(data.root / 'val.csv')) == 2
    assert rows_in(data.root / 'val_missing.csv') == []


def test_separate_audio_files(data):
    data.add_list(EK)
    data.add('videos/P01_11_0.mp4', 'videos/P01_11_1.mp4')
    data.add('audio/P01_11_1.wav')
    data.prepare(EK[0], audio_root=str(data.audio), **PARTIAL)
    (row,) = rows_in(data.root / 'val.csv')
    assert (row['file'], row['audio']) == (
        'videos/P01_11_1.mp4',
        'audio/P01_11_1.wav',
    )
    (missing,) = rows_in(data.root / 'val_missing.csv')
    assert missing == dict(id='P01_11_0', reason='no audio file')
    data.prepare(
        EK[0], audio_root=str(data.audio), keep_missing=True, **PARTIAL
    )
    expected = [row['audio'] for row in rows_in(data.root / 'val.csv')]
    assert expected == ['audio/P01_11_0.wav', 'audio/P01_11_1.wav']


def test_with_audio_looks_into_the_files(data):
    folder = data.videos / 'ApplyEyeMakeup'
    folder.mkdir()
    frames = np.zeros((5, 16, 16, 3), np.uint8)
    names = ['loud.mkv', 'mute.mkv', 'broken.avi']
    tone = np.full(8000, 0.1, np.float32)
    write_clip(str(folder / 'loud.mkv'), frames, 5, tone)
    write_clip(str(folder / 'mute.mkv'), frames, 5)
    (folder / 'broken.avi').write_bytes(b'no video')
    text = ''.join(f'ApplyEyeMakeup/{name} 1\n' for name in names)
    (data.lists / 'trainlist01.txt').write_text(text)
    said = data.prepare('ucf101', with_audio=True, **PARTIAL)
    assert 'found 1 of 3' in said
    (row,) = rows_in(data.root / 'train_split1.csv')
    assert row['file'] == 'videos/ApplyEyeMakeup/loud.mkv'
    reasons = {
        row['id'].rpartition('/')[2]: row['reason']
        for row in rows_in(data.root / 'train_split1_missing.csv')
    }
    assert reasons == {
        'mute.mkv': 'no audio',
        'broken.avi': 'cannot be read',
    }


CLIP = 'ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01'


@pytest.mark.parametrize(
    ('key', 'files', 'expected'),
    [
        (K400, ['a/b/-5o_ES_I.mkv'], 'a/b/-5o_ES_I.mkv'),
        # The folder of the split decides between two files of one name.
        (K400, ['train/-5o_ES_I.mp4', 'val/-5o_ES_I.mp4'], 'val/-5o_ES_I.mp4'),
    ],
)
def test_files_are_found_by_name(data, key, files, expected):
    data.add_list(key)
    data.add(*(f'videos/{file}' for file in files))
    data.prepare(key[0])
    (row,) = rows_in(data.root / 'val.csv')
    assert row['file'] == f'videos/{expected}'


def test_annotations_are_never_overwritten(data):
    data.add_list(K400)
    data.add('videos/-5o_ES_I.mp4')
    before = (data.lists / 'val.csv').read_text()
    data.root = data.lists
    with pytest.raises(ListFileError, match='would overwrite'):
        data.prepare('kinetics400')
    assert (data.lists / 'val.csv').read_text() == before


def test_own_class_order(data):
    """A list may number classes as it likes, if its names are given."""
    names = list(reversed(range(309)))
    text = 'file,text,label\na.mp4,class 308,0\nb.mp4,class 0,308\n'
    (data.lists / 'test_sel.csv').write_text(text)
    path = data.root / 'mine.txt'
    path.write_text(''.join(f'class {i}\n' for i in names))
    data.add('videos/a.mp4', 'videos/b.mp4')
    data.prepare('vggsound', classes=str(path))
    labels = [row['label'] for row in rows_in(data.root / 'test.csv')]
    assert labels == ['0', '308']
    assert (data.root / 'classes.txt').read_text() == path.read_text()
    for text, message in (
        ('one\ntwo\n', 'names 2 .* VGG-Sound has 309'),
        ('one\none\n', "--classes .* names 'one' twice"),
    ):
        path.write_text(text)
        with pytest.raises(ListFileError, match=message):
            data.prepare('vggsound', classes=str(path))


NET = 'video_id,t_start,t_end,video_duration,label\na,{},9,BMX\n'
UNTRIMMED = dict(trimmed=False)
NOTHING = [
    # A known list or the text of val.csv, videos, flags, what is said.
    (EK_PLAIN, ['P01_11.mp4'], UNTRIMMED, "no times .*'P01_11_0'.*--trimm"),
    (EK, ['P01_11_00.mp4', 'XP01_11_0.mp4'], {}, 'not one of 2'),
    (EK, ['P01_11_0.mp4'], dict(classes='a'), 'leave --classes out'),
    (UCF, [f'{CLIP}.avi', f'copy/{CLIP}.mp4'], {}, 'Two files .*keep one'),
    (UCF, [f'Not{CLIP}.avi', 'Y/v_YoYo_g25_c05.avi'], {}, 'not one of 2'),
    (K400, [], {}, "one of 2 .*'-5o_ES_I_000006_000016' or .*--videos"),
    (K400, [], dict(audio_root='gone'), "no folder 'gone'.*--audio-root"),
    (K400, [], dict(classes='gone.txt'), '--classes gone.txt: .*No such'),
    (K400, [], dict(splits=('train',)), 'none of train.csv, .*--list tr'),
    (K400, [], dict(lists=dict(val='no')), "there is no file 'no'"),
    (K400, [], dict(lists=dict(test='no')), "no split 'test', only train"),
    (NET.format('1,2'), [], UNTRIMMED, "1 x no video .*'v_a' or 'a' "),
    (NET.format('4,3'), ['v_a.mp4'], UNTRIMMED, '1 x .* ends before it st'),
]


@pytest.mark.parametrize(('source', 'files', 'flags', 'message'), NOTHING)
def test_what_cannot_be_prepared_is_said(data, source, files, flags, message):
    name = 'activitynet' if isinstance(source, str) else source[0]
    if isinstance(source, str):
        (data.lists / 'val.csv').write_text(source)
    else:
        data.add_list(source)
    data.add(*(f'videos/{file}' for file in files))
    with pytest.raises(ListFileError, match=message):
        data.prepare(name, **PARTIAL, **flags)
    assert not [*data.root.glob('*.csv')]  # all or nothing


@pytest.mark.parametrize('name', BENCHMARKS)
def test_every_tool_stops_with_one_line(name, data, capsys):
    readme = (TOOLS / name / 'README.md').read_text()
    assert BENCHMARKS[name].title in readme
    flags = ['--annotations', data.lists, '--videos', data.videos]

    def stop(*more):
        assert run_tool(f'data/{name}/prepare.py', *flags, *more) == 2
        return capsys.readouterr().err

    chosen = []
    if BENCHMARKS[name].untrimmed:  # which videos these are is not guessed
        assert '--trimmed --untrimmed is required' in stop()
        chosen = ['--untrimmed']
    said = stop(*chosen)
    assert said.startswith(f'error: {BENCHMARKS[name].title}: no annotation')
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize('flags', [[], ['--with-sound']])
def test_command_line(data, capsys, flags):
    data.add_list(EK)
    tone = np.full(8000, 0.1, np.float32)
    frames = np.zeros((5, 16, 16, 3), np.uint8)
    write_clip(str(data.videos / 'P01_11.mkv'), frames, 5, tone)
    prepare_benchmark.prepare(
        EK[0],
        [
            f'--list=val={data.lists / EK[2]}',
            f'--videos={data.videos}',
            f'--out={data.root}',
            '--splits=val',
            '--untrimmed',
            '--allow-partial',
            *flags,
        ],
    )
    said = capsys.readouterr().out
    assert 'found 2 of 2' in said
    assert ('is now --with-audio' in said) == ('--with-sound' in flags)
    assert rows_in(data.root / 'val.csv')[0]['end'] == '1.89'
