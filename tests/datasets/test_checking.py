# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The data checker finds every kind of fault, and only those."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import odd_media
import pytest

from ca2st_mm.datasets.checking import (
    KINDS,
    Limits,
    Sample,
    check_duplicates,
    probe_sample,
    read_samples,
)
from ca2st_mm.datasets.checking import run as checking_run

TOOLS = Path(__file__).resolve().parents[2] / 'tools' / 'data'
# What the checker says of each odd file; silence of no_sound is meant.
EXPECTED = dict(
    zero_bytes={'unreadable'},
    truncated={'unreadable'},
    truncated_pictures={'unreadable'},
    audio_only={'unreadable'},
    one_frame={'too_short', 'out_of_sync'},
    variable_rate={'no_sound'},
    rotated={'no_sound'},
    ten_bit={'no_sound'},
    odd_size={'no_sound'},
    short_sound={'out_of_sync'},
    silent={'silent'},
    no_sound={'no_sound'},
    wrong_duration=set(),
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Each odd file, and some good ones, with manifests."""
    folder = tmp_path_factory.mktemp('data')
    for name, write in odd_media.FILES.items():
        write(folder / f'{name}.mp4')
    good = (folder / 'wrong_duration.mp4').read_bytes()
    (folder / 'copy.mp4').write_bytes(good)
    rows = [f'{name}.mp4,{i % 5}\n' for i, name in enumerate(EXPECTED)]
    rows += ['nowhere.mp4,2\n', 'wrong_duration.mp4,8\n']
    (folder / 'train.csv').write_text('file,label\n' + ''.join(rows))
    (folder / 'val.csv').write_text('file,label\ncopy.mp4,1\n')
    (folder / 'good.csv').write_text('file,label\ncopy.mp4,0\n')
    return folder


@pytest.fixture
def check(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(TOOLS))
    tool = __import__('check')

    def run(*args):
        code = tool.main([*map(str, args), '--out', str(tmp_path / 'out')])
        return code, json.loads((tmp_path / 'out.json').read_text())

    return run


def test_each_odd_file_gets_its_fault(folder):
    for name, expected in EXPECTED.items():
        sample = Sample('x', str(folder / f'{name}.mp4'), None, None, None, {})
        probe = probe_sample(sample, Limits())
        assert {fault.kind for fault in probe.of(sample)} == expected, name
        assert bool(probe.thumbnail) == ('unreadable' not in expected)


def test_every_kind_of_fault_is_found(folder, check, tmp_path, capsys):
    manifests = [folder / 'train.csv', folder / 'val.csv']
    options = ['--data-root', folder, '--decode', '--workers', 2]
    code, found = check(*manifests, *options, '--classes', 7)
    assert code == 1
    assert set(found['counts']) == set(KINDS)
    expected = sum(map(len, EXPECTED.values()))
    assert found['counts'] == dict(
        missing=1,
        unreadable=4,
        no_sound=5,
        silent=1,
        out_of_sync=2,
        too_short=1,
        bad_label=1,
        untrained_class=2,
        duplicate=1,
    )
    assert expected == 13
    text = capsys.readouterr().out
    assert '4 x unreadable' in text and 'nowhere.mp4' in text
    assert_self_contained((tmp_path / 'out.html').read_text(), found)


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.sources = []

    def handle_starttag(self, tag, attrs):
        self.sources += [v for k, v in attrs if k in ('src', 'href')]


def assert_self_contained(page, found):
    links = Links()
    links.feed(page)
    assert len(links.sources) > 10  # plots and thumbnails
    assert all(re.match(r'data:image/(png|jpeg);', s) for s in links.sources)
    for fault in found['faults']:
        assert fault['kind'] in page and Path(fault['path']).name in page


def test_a_good_set_has_exit_code_zero(folder, check, capsys):
    code, found = check(
        folder / 'good.csv', '--data-root', folder, '--decode', '--workers', 1
    )
    assert code == 0 and found['faults'] == []
    assert found['splits']['good']['samples'] == 1
    assert 'no faults' in capsys.readouterr().out


def test_faults_can_be_ignored(folder, check):
    manifest = folder / 'sound.csv'
    manifest.write_text('file,label\nno_sound.mp4,0\n')
    options = ['--data-root', folder, '--decode', '--workers', 1]
    assert check(manifest, *options)[0] == 1
    assert check(manifest, *options, '--ignore', 'no_sound')[0] == 0


def test_without_decoding_headers_are_read(folder, check):
    code, found = check(folder / 'train.csv', '--data-root', folder)
    assert code == 1
    kinds = {(f['kind'], Path(f['path']).stem) for f in found['faults']}
    assert ('unreadable', 'zero_bytes') in kinds
    assert ('no_sound', 'rotated') in kinds
    assert ('unreadable', 'truncated_pictures') not in kinds


def test_a_second_run_reads_only_what_changed(folder, check, monkeypatch):
    probed = []

    def count(sample, limits):
        probed.append(Path(sample.path).name)
        return probe_sample(sample, limits)

    monkeypatch.setattr(checking_run, 'probe_sample', count)
    options = ['--data-root', folder, '--workers', 2]
    first = check(folder / 'train.csv', *options)
    assert len(probed) == 14  # one file is listed twice
    probed.clear()
    assert check(folder / 'train.csv', *options) == first
    assert probed == []
    path = folder / 'nowhere.mp4'
    odd_media.silent(path)
    try:
        check(folder / 'train.csv', *options)
    finally:
        path.unlink()
    assert probed == ['nowhere.mp4']


def test_a_cut_off_note_does_no_harm(folder, check, tmp_path):
    options = ['--data-root', folder, '--workers', 2]
    first = check(folder / 'train.csv', *options)
    notes = tmp_path / 'out.notes.jsonl'
    text = notes.read_text()
    notes.write_text(text[: len(text) // 2])
    assert check(folder / 'train.csv', *options) == first
    assert check(folder / 'train.csv', *options) == first


def sample(split, path, start=None, end=None):
    return Sample(split, path, None, start, end, {})


def test_spans_of_one_file_are_duplicates_only_where_they_overlap():
    samples = [
        sample('train', 'a', 0.0, 5.0),
        sample('val', 'a', 5.0, 9.0),
        sample('val', 'a', 4.0, 6.0),
        sample('train', 'a', 1.0, 2.0),
        sample('val', 'b'),
    ]
    faults = check_duplicates(samples, {})
    assert [(f.split, f.path) for f in faults] == [('val', 'a')]
    assert 'from 0.0 s to 5.0 s' in faults[0].detail
    faults = check_duplicates(samples, dict(a='same', b='same'))
    assert [f.path for f in faults] == ['a', 'b']


def test_manifests_need_different_names(folder, tmp_path):
    twin = tmp_path / 'train.csv'
    twin.write_text('file,label\na.mp4,1\n')
    with pytest.raises(ValueError, match='different file names'):
        read_samples([str(folder / 'train.csv'), str(twin)])


def test_classes_by_file_and_by_column(folder, check, tmp_path):
    classes = tmp_path / 'classes.txt'
    classes.write_text('one\ntwo\n')
    manifest = tmp_path / 'train.csv'
    manifest.write_text('file,verb,noun\ncopy.mp4,1,0\ncopy.mp4,0,3\n')
    options = ['--data-root', folder, '--workers', 1]
    _, found = check(
        manifest, *options, '--classes', f'verb={classes}', 'noun=3'
    )
    details = [(f['kind'], f['detail']) for f in found['faults']]
    assert details == [
        ('bad_label', 'noun 3 of 3 classes'),
        ('untrained_class', 'noun 1'),
        ('untrained_class', 'noun 2'),
    ]
