# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""tools/analysis/robustness.py: each condition, measured on the same clips."""

import json
import shutil
from pathlib import Path

import clip_reports
import numpy as np
import pytest
import robustness
from robustness import hits_of
from tool_runs import run_tool

from ca2st_mm import Recognizer

TOOL = 'analysis/robustness.py'


def test_every_condition_is_measured_once(
    saved, toy, tmp_path, capsys, monkeypatch
):
    flags = ('--ann-file=test.csv', '--max-clips=3', '--workers=0')
    flags += ('--device=cpu', '--causes', 'wind', 'papers', '--strengths', 5)
    flags += ('--desync', 200, 0, '--out', tmp_path / 'report')
    read, calls = clip_reports.clips_of, []

    def clips_until(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read(*args)

    monkeypatch.setattr(clip_reports, 'clips_of', clips_until)
    assert run_tool(TOOL, *saved['ca2st'], *flags) == 130
    assert capsys.readouterr().err.endswith('\nstopped by Ctrl-C\n')
    assert run_tool(TOOL, *saved['ca2st'], *flags) == 0
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / 'report.json').read_text())
    assert record['seed'] == 0 and record['bad_clips'] == []
    rows = record['top1']['label']
    keys = [(r['cause'], r['modality'], r['strength']) for r in rows]
    assert keys == [
        ('as they are', '', ''),
        ('without audio', '', ''),
        ('without video', '', ''),
        ('audio of another clip', '', ''),
        *(
            ('wind', modality, strength)
            for modality in ('video', 'audio', 'video + audio')
            for strength in (5,)
        ),
        *((cause, 'audio', 5) for cause in robustness.PAPERS),
        (robustness.MASKED, 'audio', 5),
        ('desynchronised', 'audio', 200),
        ('desynchronised', 'audio', 0),
    ]
    assert len(calls) == 1 + len(keys)
    assert [row['clips'] for row in rows] == [3, 3, 3, 2, *[3] * 11]
    assert rows[-1]['top1'] == rows[0]['top1']  # later by nothing
    assert printed.split('\n\n')[-2].split() == [
        *('cause', 'of', '200', '0', 'desynchronised', 'audio'),
        *(f'{100 * row["top1"]:.1f}' for row in rows[-2:]),
    ]
    for row in rows:
        assert row['cause'] in printed
        gain = row['gained'] - row['lost']
        difference = row['top1'] - rows[0]['top1']
        assert difference == pytest.approx(gain / 3) or row['clips'] == 2
    figure = tmp_path / 'report_label.png'
    assert figure.read_bytes().startswith(b'\x89PNG')
    assert run_tool(TOOL, *saved['ca2st'], *flags, '--seed=1') == 2
    assert 'is of seed 0, not 1' in capsys.readouterr().err


def test_a_model_without_audio_is_corrupted_in_video_alone(
    saved, tmp_path, capsys
):
    flags = ('--ann-file=test.csv', '--max-clips=2', '--workers=0')
    flags += ('--device=cpu', '--causes', 'rain', 'papers', '--strengths=5')
    config, checkpoint = saved['cast']
    shutil.copy(checkpoint, tmp_path)
    checkpoint = tmp_path / Path(checkpoint).name
    assert run_tool(TOOL, config, checkpoint, *flags) == 0
    record = json.loads((tmp_path / 'robustness.json').read_text())
    found = [(r['cause'], r['modality']) for r in record['top1']['label']]
    assert found == [('as they are', ''), ('rain', 'video')]


@pytest.mark.parametrize(
    'flags, status, words',
    [
        (('--causes', 'snow'), 2, "'snow' is neither"),
        (('--causes', 'Resize'), 2, 'transform with strength and seed'),
        (('--max-clips', 0), 2, 'is at least 1'),
        (('--ann-file=bad.csv', '--causes', '--desync'), 1, 'bad.mp4'),
    ],
)
def test_what_cannot_be_measured_is_said(
    flags, status, words, saved, toy, tmp_path, capsys
):
    (toy / 'bad.mp4').write_text('no video')
    (toy / 'bad.csv').write_text('file,label\n../bad.mp4,0\n')
    flags += ('--workers=0', '--device=cpu', '--out', tmp_path / 'a/report')
    assert run_tool(TOOL, *saved['ca2st'], *flags) == status
    assert words in capsys.readouterr().err


def test_masked_tokens_are_those_that_others_read_of_audio(saved):
    config, checkpoint = saved['ca2st']
    recognizer = Recognizer.from_config(config, checkpoint, 'cpu')
    masked = robustness.with_masked_tokens(recognizer, checkpoint, 0.4)
    shares = {
        name: module.masked_context
        for name, module in masked.model.backbone.links.named_modules()
        if hasattr(module, 'masked_context')
    }
    for name, share in shares.items():
        # Of spatial (a) or temporal (a) and audio (b), what a reads.
        reads_audio = 'audio.a_from_b' in name
        assert share == (0.4 if reads_audio else 0)
    assert 0.4 in shares.values()


def test_hits_are_those_of_the_chosen_experts(recognizer, clips):
    samples = [recognizer.prepare(clip) for clip in clips[:3]]
    logits = recognizer.logits(samples, ['audio'])
    best = recognizer.probabilities(logits)['label'].argmax(-1).tolist()
    labels = [best[0], best[1], (best[2] + 1) % 12]
    for sample, label in zip(samples, labels, strict=True):
        sample['data_samples'].set_gt_label(label)
    found = hits_of(recognizer, enumerate(samples), 2, experts=['audio'])
    assert found['label'] == {0: True, 1: True, 2: False}
    swapped = hits_of(recognizer, enumerate(samples), 2, swapped=True)
    assert sorted(swapped['label']) == [1, 2]
    assert not np.isnan(list(swapped['label'].values())).any()
