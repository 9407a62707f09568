# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The benchmarks measure what they say."""

import json
import subprocess
import sys

import benchmark_data
import benchmark_gpu
import benchmark_models
import numpy as np
import pytest
import torch
from benchmark_data import BareDecoder, TimedClips, drawn, stage_of
from benchmark_models import (
    count_gmac,
    measure_in_turn,
    share_of,
    step_of,
)
from mmcv.transforms import Compose
from mmengine.config import Config
from tool_runs import ROOT, run_tool

from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.utils.errors import UsageError

CONFIG = ROOT / 'configs/cava/cava_vggsound.py'


@pytest.fixture(scope='module')
def steps():
    return Compose(Config.fromfile(CONFIG).train_pipeline).transforms


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('videos')
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (80, 64, 64, 3), np.uint8)
    waveform = rng.normal(0, 0.1, 32000).astype(np.float32)
    write_clip(str(folder / 'clip.mp4'), frames, 30, waveform)
    return folder


@pytest.mark.parametrize('span', [{}, dict(clip_start=0.2, clip_end=2.6)])
def test_the_bare_decoder_reads_what_the_pipeline_reads(videos, steps, span):
    path = str(videos / 'clip.mp4')
    clips = [dict(filename=path, label=0, modality='RGB', **span)]
    stages = ('open', 'sample', 'decode video', 'decode audio')
    readers = [step for step in steps if stage_of(step) in stages]
    bare = TimedClips(drawn(clips, steps, 3), [BareDecoder(audio=True)], 3)
    whole = TimedClips(clips, steps, 3)
    for number in range(3):
        found, expected = bare[number], TimedClips(clips, readers, 3)[number]
        inds = whole[number].frame_inds[0]
        np.testing.assert_array_equal(found.frame_inds[0], inds)
        frames = dict(zip(np.unique(inds), found.value['imgs'], strict=True))
        for index, frame in zip(inds, expected.value['imgs'], strict=True):
            np.testing.assert_array_equal(frames[index], frame)
        lengths = [len(s.value['waveform']) for s in (found, expected)]
        assert abs(lengths[0] - lengths[1]) <= 2 * 1024  # a packet, cut


def test_every_stage_is_known(steps):
    stages = {*benchmark_data.STAGES.values(), 'change frames'} - {'bare'}
    assert set(map(stage_of, steps)) == stages
    audio = [step for step in steps if stage_of(step) == 'mel']
    with pytest.raises(UsageError, match='DecodeVideo'):
        drawn([], audio, 0)


def test_costs_of_stages_add_up(videos, tmp_path, capsys):
    report = tmp_path / 'feed.json'
    options = '--workers 1 --batch-size 2 --batches 1 --rounds 2 --seconds 2'
    assert not run_tool(
        'analysis/benchmark_data.py',
        *(CONFIG, '--videos', videos, *options.split()),
        *('--json', report, '--minutes', 0.1, '--clips', 2),
    )
    found = json.loads(report.read_text())
    rows = {row['loader']: row for row in found['measured']}
    assert list(rows) == ['video', 'video and audio', 'pipeline']
    for row in rows.values():
        assert row['samples_s'] == pytest.approx(1000 / row['wall_ms'])
        assert 0 < row['share_least'] <= row['share'] <= row['share_largest']
    assert rows['pipeline']['share'] == 1
    stages = found['conditions']['stages']
    assert {row['stage'] for row in stages} > {'open', 'mel', 'collate'}
    spent = sum(row['wall_ms'] for row in stages)
    assert 0 < spent < rows['pipeline']['wall_ms']
    assert 'decode audio' in capsys.readouterr().out


def test_steps_run_in_turn_and_are_compared_run_by_run():
    order = []
    steps = {name: lambda name=name: order.append(name) for name in 'ab'}
    runs = measure_in_turn(steps, repeats=2)
    assert order == ['a', 'b'] * 4  # two to warm up
    assert {name: len(r) for name, r in runs.items()} == dict(a=2, b=2)
    # Other work came in the second run and slowed all three.
    seconds = dict(cast=(3, 30, 3), a=(1, 10, 1), b=(1, 10, 1))
    runs = {n: [dict(cpu_s=s) for s in some] for n, some in seconds.items()}
    assert share_of(runs, 'cast', ['a', 'b']) == 1.5


def test_arithmetic_is_counted_with_attention_and_the_backward_pass():
    q = torch.ones(1, 2, 50, 8)
    attention = torch.nn.functional.scaled_dot_product_attention
    found = count_gmac(lambda: attention(q, q, q))
    assert found == pytest.approx(2 * 2 * 50 * 50 * 8 / 1e9)
    model = torch.nn.Linear(20, 30)
    x = torch.ones(5, 20, requires_grad=True)
    step = step_of(model, lambda: model(x), 'train')
    # The layer, the gradient of its input and that of its weight.
    assert count_gmac(step) == pytest.approx(3 * 5 * 20 * 30 / 1e9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('mode', 'switch'), [('train', 'recompute'), ('forward', 'plain')]
)
def test_models_are_measured(tmp_path, mode, switch):
    report = tmp_path / 'models.json'
    options = ['--models', 'cava', '--modes', mode, '--switches', switch]
    subprocess.run(
        [sys.executable, benchmark_models.__file__, *options]
        + ['--repeats', '1', '--json', report],
        check=True,
    )
    [row] = json.loads(report.read_text())['measured']
    assert (row['model'], row['mode'], row['switch']) == ('cava', mode, switch)
    assert ('to_experts' in row) == (mode == 'forward')
    assert all(v > 0 for v in row.values() if isinstance(v, float))


def test_a_run_on_a_gpu_is_proven_on_the_cpu(tmp_path):
    report = tmp_path / 'gpu.json'
    command = (
        ROOT / 'configs/toy/cast_toy.py',
        *'--device cpu --batches 1 2 --compile off --repeats 1'.split(),
        *('--precision', 'float32', '--json', report),
    )
    assert not run_tool('analysis/benchmark_gpu.py', *command)
    found = json.loads(report.read_text())
    rows = found['measured']
    assert [(r['batch'], r['mode']) for r in rows] == [
        (batch, mode) for batch in (1, 2) for mode in ('forward', 'train')
    ]
    for row in rows:
        assert row['clips_s'] > 0
    by_mode = {
        m: [r['tflops'] / r['clips_s'] for r in rows if r['mode'] == m]
        for m in ('forward', 'train')
    }
    for per_clip in by_mode.values():  # the arithmetic is that of each clip
        assert per_clip[0] == pytest.approx(per_clip[1])
    assert by_mode['train'][0] > 1.5 * by_mode['forward'][0]
    kernels = found['conditions']['kernels']
    assert any('attention' in row['kernel'] for row in kernels)
    assert sum(row['share'] for row in kernels[:10]) <= 1 + 1e-9


def test_a_loader_without_its_data_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(ROOT / 'configs/toy/cast_toy.py')
    with pytest.raises(UsageError, match='--loader needs the training data'):
        benchmark_gpu.loader_rate(cfg)
