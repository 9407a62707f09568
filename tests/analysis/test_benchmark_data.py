# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The feeding benchmark reads the same frames twice, and its stages add up."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.config import Config

from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.datasets.stage_timing import (
    STAGES,
    TimedClips,
    stage_of,
    until_decoded,
)

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/_base_/datasets/vggsound_audio_visual.py'


@pytest.fixture(scope='module')
def steps():
    return Compose(Config.fromfile(CONFIG).train_pipeline).transforms


def test_the_bare_decoder_reads_the_frames_of_the_pipeline(tmp_path, steps):
    path = str(tmp_path / 'clip.mp4')
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (80, 64, 64, 3), np.uint8)
    sound = rng.normal(0, 0.1, 32000).astype(np.float32)
    write_clip(path, frames, 30, sound)
    clips = [dict(filename=path, label=0, modality='RGB')]
    bare, sounding, whole = (
        [dataset[number] for number in range(3)]
        for dataset in (
            TimedClips(clips, until_decoded(steps), 3),
            TimedClips(clips, until_decoded(steps, with_sound=True), 3),
            TimedClips(clips, steps, 3),
        )
    )
    assert all('waveform' in sample.value for sample in sounding)
    drawn = [sample.frame_inds[0] for sample in whole]
    assert any(np.any(drawn[0] != inds) for inds in drawn[1:])
    for inds, sample in zip(drawn, bare, strict=True):
        np.testing.assert_array_equal(sample.frame_inds[0], inds)
        assert len(sample.value['imgs']) == 16
        spent = {s for s, seconds in sample.seconds.items() if seconds}
        assert spent == {'open', 'sample', 'decode video'}


def test_every_stage_has_steps(steps):
    assert {*map(stage_of, steps), 'collate'} == set(STAGES)


def test_a_pipeline_without_frames_is_refused(steps):
    sound = [step for step in steps if stage_of(step) == 'mel']
    with pytest.raises(ValueError, match='DecodeVideo'):
        until_decoded(sound)


def report_of(path):
    return json.loads(path.read_text())


def test_stages_add_up(tmp_path, monkeypatch, capsys):
    report = tmp_path / 'feed.json'
    arguments = '--workers 1 --batch-size 2 --batches 2 --rounds 2 --clips 1'
    tool = 'tools/analysis/benchmark_data.py'
    monkeypatch.setattr(
        sys,
        'argv',
        [tool, str(CONFIG), *arguments.split()]
        + ['--seconds', '3', '--size', '64', '48', '--json', str(report)],
    )
    runpy.run_path(str(ROOT / tool), run_name='__main__')
    [row] = report_of(report)['rows']
    assert row['samples'] == 2 * 4
    stages = {name: s['seconds'] for name, s in row['stages_ms'].items()}
    total = row['wall_ms']['pipeline']
    assert sum(stages.values()) == pytest.approx(total)
    assert min(stages[stage] for stage in STAGES) > 0
    # What no stage explains is waiting, which cannot be negative.
    assert stages['hand over and wait'] > 0
    assert set(row['share_of_rate']) == {'video', 'video and sound'}
    for kind in ('rate', 'cpu'):
        shares = row[f'share_of_{kind}']
        for middle, least, largest in shares.values():
            assert 0 < least <= middle <= largest
    assert set(report_of(report)['mel_ms']) == {'worker', 'batch'}
    printed = capsys.readouterr().out
    assert 'pipeline of video, rate' in printed
    assert 'mel, processor, batch' in printed
