# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A flash and a click that coincide stay together through the pipeline."""

import numpy as np
import pytest

from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.datasets.transforms import (
    CropAudio,
    DecodeVideo,
    FrameTimes,
    LoadAudio,
    LogMelSpectrogram,
    OpenVideo,
    SegmentSample,
)

FPS, RATE, SECONDS = 25, 16000, 6


def flash_and_click(path, frame, starts):
    """White frame and short burst at the same moment of the clock."""
    frames = np.zeros((FPS * SECONDS, 32, 32, 3), np.uint8)
    frames[frame] = 255
    moment = starts[0] + frame / FPS
    audio = np.zeros(RATE * SECONDS, np.float32)
    first = round((moment - starts[1]) * RATE)
    t = np.arange(RATE // 50) / RATE
    audio[first : first + len(t)] = 0.8 * np.sin(2 * np.pi * 2000 * t)
    write_clip(path, frames, FPS, audio, RATE, starts)
    return moment


@pytest.mark.parametrize(
    ('ext', 'sample_rate'), [('mp4', None), ('mkv', 22050)]
)
@pytest.mark.parametrize('starts', [(0.0, 0.0), (0.4, 0.0), (0.0, 0.32)])
def test_flash_meets_click(tmp_path, ext, starts, sample_rate):
    rng = np.random.default_rng(len(ext) + round(100 * sum(starts)))
    np.random.seed(int(rng.integers(1000)))
    for trial in range(3):
        path = str(tmp_path / f'{trial}.{ext}')
        frame = int(rng.integers(30, 110))
        moment = flash_and_click(path, frame, starts)
        # A random stretch that holds the flash, then random segments of it
        # until one sample catches the single white frame.
        bounds = dict(
            clip_start=moment - rng.uniform(0.3, 0.9),
            clip_end=moment + rng.uniform(0.3, 0.9),
        )
        for _ in range(200):
            out = OpenVideo()(dict(filename=path, **bounds))
            out = DecodeVideo()(SegmentSample(16)(out))
            light = [img.mean() for img in out['imgs']]
            if max(light) > 128:
                break
        out = FrameTimes(origin=('file', 'clip')[trial % 2])(out)
        out = LoadAudio(sample_rate=sample_rate)(out)
        out = CropAudio(min_seconds=2.0)(out)
        flash = out['imgs_times'][0, int(np.argmax(light))]
        assert flash + out['time_origin'] == pytest.approx(moment, abs=2e-3)
        # in the waveform
        cut, span = out['waveforms'][0], out['waveform_times'][0]
        loud = np.abs(cut) > 0.5 * np.abs(cut).max()
        click = span[0] + np.argmax(loud) / out['sample_rate']
        assert click == pytest.approx(moment, abs=0.5 / FPS)
        # in the spectrogram, padded or cut
        for length in (120, 400):
            seen = LogMelSpectrogram(length, 64)(dict(out))
            power = seen['audios'][0, 0]
            start, end = seen['audios_times'][0]
            power = np.where(power == 0, -20, power).max(axis=1)
            row = int(np.argmax(power > power.max() - 2))
            click = start + (end - start) * (row + 1) / length
            assert click == pytest.approx(flash, abs=1 / FPS)
