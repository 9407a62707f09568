# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Every broken or odd file has the outcome that docs/bad_files.md names."""

from pathlib import Path

import numpy as np
import odd_media
import pytest
from test_readers import NAMES

from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.faults import MediaError, NoAudioError
from ca2st_mm.datasets.transforms import (
    DecodeVideo,
    FrameTimes,
    LoadAudio,
    OpenVideo,
    SegmentSample,
)

TABLE = Path(__file__).resolve().parents[2] / 'docs' / 'bad_files.md'


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('files')
    paths = {name: folder / f'{name}.mp4' for name in odd_media.FILES}
    for name, path in paths.items():
        odd_media.FILES[name](path)
    return paths


def rows():
    """Outcomes of picture and sound by file, from the table."""
    table = {}
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if len(cells) == 4 and cells[0].strip('`') in odd_media.FILES:
            table[cells[0].strip('`')] = cells[2], cells[3]
    return table


def test_each_file_has_a_row():
    assert set(rows()) == set(odd_media.FILES)


def load(path, reader):
    out = OpenVideo(reader=reader)(dict(filename=str(path)))
    out = DecodeVideo()(SegmentSample(16, test_mode=True)(out))
    return FrameTimes()(out)


@pytest.mark.parametrize('reader', NAMES)
@pytest.mark.parametrize('name', odd_media.FILES)
def test_pictures(files, reader, name):
    picture, _ = rows()[name]
    if 'MediaError' in picture:
        with pytest.raises(MediaError, match=f'{name}.mp4.*Replace the file'):
            load(files[name], reader)
        return
    assert picture.startswith('read')
    out = load(files[name], reader)
    assert len(out['imgs']) == 16
    assert out['imgs_times'].shape == (1, 16)
    assert out['imgs_times'].max() < 2.3


@pytest.mark.parametrize('name', odd_media.FILES)
def test_sound(files, name):
    sound = rows()[name][1]
    sample = dict(filename=str(files[name]))
    if sound.startswith('read'):
        assert LoadAudio()(sample)['has_audio']
        return
    fault = {'no': NoAudioError, '`MediaError`': MediaError}
    with pytest.raises(fault[sound.split()[0]], match=f'{name}.mp4'):
        LoadAudio()(sample)


@pytest.mark.parametrize('reader', NAMES)
def test_details(files, reader):
    shapes = dict(rotated=(96, 64), odd_size=(65, 97), ten_bit=(64, 96))
    for name, shape in shapes.items():
        assert load(files[name], reader)['img_shape'] == shape
    times = load(files['variable_rate'], reader)['imgs_times'][0]
    truth = np.cumsum(np.tile([0.04, 0.04, 0.08, 0.02], 13)) - 0.04
    assert np.abs(times[:, None] - truth).min(axis=1).max() < 2e-3
    assert np.ptp(np.diff(times)) > 0.03
    assert len(set(load(files['one_frame'], reader)['frame_inds'])) == 1
    assert read_audio(str(files['short_sound'])).waveform.shape[0] < 16000
    assert not read_audio(str(files['silent'])).waveform.any()
