# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The data checker finds every kind of fault, and only those."""

import html
import json
import re
import wave
from pathlib import Path

import check as check_tool
import check_media
import check_report
import numpy as np
import odd_media
import pytest
from check_lists import KINDS, Sample, check_repeats
from check_media import probe_sample
from tool_runs import run_tool

from ca2st_mm.datasets.media_writer import write_clip

# What the checker says of each odd file; some have no audio on purpose.
EXPECTED = dict(
    zero_bytes={'unreadable'},
    truncated={'unreadable'},
    truncated_frames={'unreadable'},
    audio_only={'unreadable'},
    one_frame={'too_short', 'out_of_sync'},
    variable_rate={'no_audio'},
    rotated={'no_audio'},
    ten_bit={'no_audio'},
    odd_size={'no_audio'},
    short_audio={'out_of_sync'},
    silent={'silent'},
    no_audio={'no_audio'},
    wrong_duration=set(),
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Each odd file, and some good ones, with annotation files."""
    folder = tmp_path_factory.mktemp('data')
    for name, write in odd_media.FILES.items():
        write(folder / f'{name}.mp4')
    good = (folder / 'wrong_duration.mp4').read_bytes()
    (folder / 'copy.mp4').write_bytes(good)
    rows = [f'{name}.mp4,{i % 5},\n' for i, name in enumerate(EXPECTED)]
    rows += ['<b>nowhere.mp4,2,\n', 'wrong_duration.mp4,8,\n']
    rows += ['wrong_duration.mp4,2,\n', 'wrong_duration.mp4,2,99\n']
    (folder / 'train.csv').write_text('file,label,end\n' + ''.join(rows))
    (folder / 'val.csv').write_text('file,label\ncopy.mp4,1\n')
    return folder


@pytest.fixture
def check_with_plots(tmp_path):
    """Run the tool; returns its exit code and its JSON."""

    def run(*args):
        code = check_tool.main(
            [*map(str, args), '--out', str(tmp_path / 'out')]
        )
        return code, json.loads((tmp_path / 'out.json').read_text())

    return run


@pytest.fixture
def check(check_with_plots, monkeypatch):
    """The same without plots, which take nearly all of the time."""
    monkeypatch.setattr(check_report, '_plots', lambda found: {})
    return check_with_plots


def test_every_kind_of_fault_is_found(
    folder, check_with_plots, tmp_path, capsys
):
    ann_files = [folder / 'train.csv', folder / 'val.csv']
    options = ['--data-root', folder, '--decode', '--workers', 2]
    code, found = check_with_plots(*ann_files, *options, '--classes', 7)
    assert code == 1
    assert set(found['counts']) == set(KINDS)
    assert found['counts'] == dict(
        missing=1,
        unreadable=4,
        no_audio=5,
        silent=1,
        out_of_sync=2,
        too_short=1,
        past_end=1,
        bad_label=1,
        untrained_class=2,
        several_labels=1,
        repeated=1,
        duplicate=1,
    )
    of_rows = {'bad_label', 'several_labels', 'repeated', 'past_end'}
    for name, expected in EXPECTED.items():
        own = [f for f in found['faults'] if Path(f['path']).stem == name]
        assert {fault['kind'] for fault in own} - of_rows == expected, name
    text = capsys.readouterr().out
    assert '4 x unreadable' in text and 'nowhere.mp4' in text
    assert_self_contained((tmp_path / 'out.html').read_text(), found)


def assert_self_contained(page, found):
    links = re.findall(r'\b(?:src|href)="([^"]*)"', page)
    assert len(links) > 10  # plots and thumbnails
    assert all(re.match(r'data:image/(png|jpeg);', link) for link in links)
    assert '<b>' not in page
    page = html.unescape(page)
    for fault in found['faults']:
        assert fault['kind'] in page and Path(fault['path']).name in page


@pytest.mark.parametrize(
    ('name', 'options'),
    [('copy', ()), ('no_audio', ('--ignore', 'no_audio'))],
)
def test_without_faults_the_exit_code_is_zero(
    folder, check, capsys, name, options
):
    ann_file = folder / 'good.csv'
    ann_file.write_text(f'file,label\n{name}.mp4,0\n')
    common = [ann_file, '--data-root', folder, '--decode', '--workers', 1]
    assert check(*common)[0] == bool(options)
    code, found = check(*common, *options)
    assert code == 0 and found['faults'] == []
    assert found['splits']['good']['samples'] == 1
    assert 'no faults' in capsys.readouterr().out


def test_a_second_run_reads_only_what_changed(
    folder, check, monkeypatch, tmp_path
):
    probed = []

    def count(sample, limits):
        probed.append(Path(sample.path).name)
        return probe_sample(sample, limits)

    monkeypatch.setattr(check_media, 'probe_sample', count)
    options = ['--data-root', folder, '--workers', 2]
    first = check(folder / 'train.csv', *options)
    assert len(probed) == 15  # one clip is listed three times
    probed.clear()
    assert check(folder / 'train.csv', *options) == first
    assert probed == []
    notes = tmp_path / 'out.notes.jsonl'
    notes.write_text(notes.read_text()[: notes.stat().st_size // 2])
    assert check(folder / 'train.csv', *options) == first
    assert 0 < len(probed) < 15
    probed.clear()
    path = folder / '<b>nowhere.mp4'
    odd_media.silent(path)
    try:
        check(folder / 'train.csv', *options)
    finally:
        path.unlink()
    assert probed == ['<b>nowhere.mp4']


def sample(split, path, start=None, end=None, label=0):
    return Sample(split, path, None, start, end, dict(label=label))


def test_spans_of_one_file_are_duplicates_only_where_they_overlap():
    samples = [
        sample('train', 'a', 0.0, 5.0),
        sample('val', 'a', 5.0, 9.0),
        sample('val', 'a', 4.0, 6.0),
        sample('train', 'a', 1.0, 2.0),
        sample('val', 'b'),
    ]
    faults = check_repeats(samples, {})
    assert [(f.kind, f.split, f.path) for f in faults] == [
        ('duplicate', 'val', 'a')
    ]
    assert 'from 0.0 s to 5.0 s' in faults[0].detail
    faults = check_repeats(samples, dict(a='same', b='same'))
    assert [f.path for f in faults] == ['a', 'b']


@pytest.mark.parametrize(
    ('split', 'label', 'kind'),
    [
        ('train', 1, 'several_labels'),
        ('train', 0, 'repeated'),
        ('val', 0, 'duplicate'),
    ],
)
def test_repeats_are_found_through_links(tmp_path, split, label, kind):
    (tmp_path / 'a.mp4').touch()
    (tmp_path / 'link').symlink_to(tmp_path)
    first = sample('train', str(tmp_path / 'a.mp4'))
    again = sample(split, str(tmp_path / 'link/a.mp4'), label=label)
    assert [f.kind for f in check_repeats([first, again], {})] == [kind]


def test_sample_rates_are_shown(check, tmp_path, capsys):
    frames = np.zeros((10, 16, 16, 3), np.uint8)
    for rate in (16000, 44100):
        tone = 0.5 * np.sin(np.arange(rate)).astype('f4')
        write_clip(str(tmp_path / f'{rate}.mkv'), frames, 10, tone, rate)
    ann_file = tmp_path / 'train.csv'
    ann_file.write_text('file,label\n16000.mkv,0\n44100.mkv,1\n')
    for options in ([], ['--decode']):
        code, found = check(ann_file, *options)
        assert code == 0
        rates = found['splits']['train']['sample_rates']
        assert rates == {'16000': 1, '44100': 1}
        said = capsys.readouterr().out
        assert '16000 Hz (1), 44100 Hz (1)' in said
        assert 'warning: audio has 2 sample rates' in said
    ann_file.write_text('file,label\n16000.mkv,0\n')
    said = check(ann_file) and capsys.readouterr().out
    assert 'sample rates' not in said and 'nothing to learn' in said


def test_headers_tell_much_without_decoding(folder, check, tmp_path):
    frames = np.zeros((30, 16, 16, 3), np.uint8)
    tone = 0.5 * np.sin(np.arange(16000)).astype('f4')
    write_clip(str(tmp_path / 'a.mkv'), frames, 10, tone)
    write_clip(str(tmp_path / 'b.mkv'), frames[:3], 10, tone[:4800])
    with wave.open(str(tmp_path / 'a.wav'), 'wb') as file:
        file.setparams((1, 2, 16000, 0, 'NONE', ''))
        file.writeframes(bytes(2 * 16000))
    ann_file = tmp_path / 'train.csv'
    ann_file.write_text(
        'file,audio,end,label\na.mkv,a.wav,,0\na.mkv,,9,0\nb.mkv,,,1\n'
    )
    _, found = check(ann_file)
    assert found['counts'] == dict(out_of_sync=1, too_short=1, past_end=1)
    assert [row['width'] for row in found['samples']] == [16] * 3
    _, found = check(folder / 'train.csv', '--data-root', folder)
    kinds = {(f['kind'], Path(f['path']).stem) for f in found['faults']}
    assert kinds >= {
        ('unreadable', 'zero_bytes'),
        ('no_audio', 'rotated'),
        ('unreadable', 'truncated_frames'),
    }
    assert 'silent' not in {kind for kind, _ in kinds}


@pytest.mark.parametrize(
    'text', ['file,start_time,label\na,1,0\n', '跑,1', None]
)
def test_a_list_that_cannot_be_read(text, tmp_path, capsys):
    path = tmp_path / 'x.csv'
    if text:
        path.write_bytes(text.encode('gbk'))
    assert run_tool('data/check.py', path) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert said.startswith('error: ') and str(path) in said


def test_classes_by_file_and_by_column(folder, check, tmp_path):
    classes = tmp_path / 'classes.txt'
    classes.write_text('one\ntwo\n')
    ann_file = tmp_path / 'train.csv'
    ann_file.write_text('file,verb,noun\ncopy.mp4,1,0\nsilent.mp4,0,3\n')
    options = ['--data-root', folder, '--workers', 1]
    _, found = check(
        ann_file, *options, '--classes', f'verb={classes}', 'noun=3'
    )
    details = [(f['kind'], f['detail']) for f in found['faults']]
    assert details == [
        ('bad_label', 'noun 3 of 3 classes'),
        ('untrained_class', 'noun 1'),
        ('untrained_class', 'noun 2'),
    ]


def test_a_config_says_where_the_data_is_and_where_reports_go(
    folder, tmp_path, monkeypatch
):
    (folder / 'classes.txt').write_text('one\ntwo\nthree\n')
    for name, rows in dict(train='copy.mp4,0', val='no_audio.mp4,1').items():
        (folder / f'own_{name}.csv').write_text(f'file,label\n{rows}\n')
    text = f"""work_dir = 'runs/mine'
audio = dict(type='LoadAudio', missing_audio='drop')
data = dict(
    data_root={str(folder)!r}, classes='classes.txt', pipeline=[audio])
train_dataloader = dict(dataset=dict(data, ann_file='own_train.csv'))
val_dataloader = dict(dataset=dict(data, ann_file='own_val.csv'))
test_dataloader = val_dataloader
"""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(check_report, '_plots', lambda found: {})
    for policy, kinds in (
        ('drop', []),
        ('raise', ['no_audio']),
    ):
        (tmp_path / 'own.py').write_text(text.replace('drop', policy))
        arguments = ['own.py', '--decode', '--train', 'own_train']
        assert check_tool.main(arguments) == 1
        found = json.loads(
            (tmp_path / 'runs/mine/data_check.json').read_text()
        )
        faults = [fault['kind'] for fault in found['faults']]
        assert faults == [*kinds, *['untrained_class'] * 2]
        warned = any("missing_audio='drop'" in w for w in found['warnings'])
        assert warned == (policy == 'drop')
    assert {p.name for p in tmp_path.iterdir()} == {'own.py', 'runs'}
