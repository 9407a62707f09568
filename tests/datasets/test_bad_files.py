# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Every broken or odd file has the outcome that docs/bad_files.md names."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import odd_media
import pytest

from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.faults import MediaError, NoAudioError
from ca2st_mm.datasets.transforms import (
    DecodeVideo,
    FrameTimes,
    LoadAudio,
    OpenVideo,
    SegmentSample,
)
from ca2st_mm.datasets.video import PyAVReader

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT.parent / 'shared' / 'cases'


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('files')
    paths = {name: folder / f'{name}.mp4' for name in odd_media.FILES}
    for name, path in paths.items():
        odd_media.FILES[name](path)
    return paths


def rows():
    """Outcomes of video and audio by file, from the table."""
    table = {}
    for line in (ROOT / 'docs' / 'bad_files.md').read_text().splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if len(cells) == 4 and cells[0].strip('`') in odd_media.FILES:
            table[cells[0].strip('`')] = cells[2], cells[3]
    return table


def test_each_file_has_a_row():
    assert set(rows()) == set(odd_media.FILES)


def load(path):
    sample = OpenVideo()(dict(filename=str(path)))
    sample = DecodeVideo()(SegmentSample(16, test_mode=True)(sample))
    return FrameTimes()(sample)


@pytest.mark.parametrize('name', odd_media.FILES)
def test_video(files, name):
    video, _ = rows()[name]
    if 'MediaError' in video:
        with pytest.raises(MediaError, match=f'{name}.mp4'):
            load(files[name])
        return
    assert video.startswith('read')
    sample = load(files[name])
    assert len(sample['imgs']) == 16
    assert sample['imgs_times'].shape == (1, 16)
    assert sample['imgs_times'].max() < 2.3


@pytest.mark.parametrize('name', odd_media.FILES)
def test_audio(files, name):
    audio = rows()[name][1]
    sample = dict(filename=str(files[name]))
    if audio.startswith('read'):
        assert LoadAudio()(sample)['has_audio']
        return
    fault = {'no': NoAudioError, '`MediaError`': MediaError}
    with pytest.raises(fault[audio.split()[0]], match=f'{name}.mp4'):
        LoadAudio()(sample)


def test_details(files):
    shapes = dict(rotated=(96, 64), odd_size=(65, 97), ten_bit=(64, 96))
    for name, shape in shapes.items():
        assert load(files[name])['img_shape'] == shape
    # Turned by 90 degrees against the clock, as players do.
    upright = load(files['rotated'])['imgs'][0]
    assert upright[-40:, 4:28].mean() > 200 and upright[:40, :28].mean() < 60
    times = load(files['variable_rate'])['imgs_times'][0]
    truth = np.cumsum(np.tile([0.04, 0.04, 0.08, 0.02], 13)) - 0.04
    assert np.abs(times[:, None] - truth).min(axis=1).max() < 2e-3
    assert np.ptp(np.diff(times)) > 0.03
    assert len(set(load(files['one_frame'])['frame_inds'])) == 1
    assert read_audio(str(files['short_audio'])).waveform.shape[0] < 16000
    assert not read_audio(str(files['silent'])).waveform.any()


@pytest.mark.parametrize(
    ('name', 'advice'),
    [
        ('zero_bytes', 'it is empty.*download it again'),
        ('truncated', 'download it again'),
        ('audio_only', 'Correct its path'),
        ('nowhere', 'Correct its path'),
    ],
)
def test_messages_say_what_helps(files, name, advice):
    with pytest.raises(MediaError, match=f'{name}.*{advice}'):
        load(files.get(name, '/nowhere.mp4'))


@pytest.fixture(scope='module')
def checker():
    if not CASES.exists():
        pytest.skip('../shared/cases is not next to this checkout')
    path = CASES / 'check_media.py'
    spec = importlib.util.spec_from_file_location('check_media', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cases():
    """Names of files that were read wrong, refused, or ended the process."""
    path = CASES / 'cases.json'
    return json.loads(path.read_text()) if path.exists() else {}


@pytest.mark.parametrize('name', cases())
def test_files_that_were_once_read_wrong(checker, tmp_path, name):
    case = cases()[name]
    checker.gather(name, case, tmp_path)
    for span in {None, checker.middle_of(case)}:
        assert not checker.in_process(name, case, None, span, tmp_path)


def test_a_list_of_other_files_is_called_so(files, tmp_path):
    path = tmp_path / 'list.mp4'
    path.write_text(f'ffconcat version 1.0\nfile {files["rotated"]}\n')
    with pytest.raises(MediaError, match='list of other files'):
        PyAVReader(str(path))
