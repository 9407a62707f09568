# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A part of a model answers from its own modalities and from no other."""

import copy
import csv
import json
import pickle
from itertools import islice
from pathlib import Path

import clip_reports
import numpy as np
import pytest
import torch
from answer_files import modalities_table
from clip_reports import OTHER_AUDIO, with_other_audio
from modality_report import survey
from tool_runs import ca2st_config, read_dump, run_tool, save

from ca2st_mm import Recognizer
from ca2st_mm.apis.modality_contributions import (
    NO_AUDIO,
    contributions_of,
    modalities_of,
    modality_contributions,
    parts_of,
)
from ca2st_mm.structures import as_streams

CLIPS = 5


@pytest.fixture(scope='module')
def prepared(recognizers, clips):
    return [recognizers['ca2st'].prepare(clip) for clip in clips[:CLIPS]]


@pytest.fixture
def samples(prepared):
    """Clips with the labels 0, 1, ..."""
    for number, sample in enumerate(prepared):
        sample['data_samples'].set_gt_label(number)
    return prepared


def other_input(sample, stream):
    """The same clip with other values in a stream."""
    streams = as_streams(sample['inputs'])
    values = streams[stream].values
    noise = (255 * torch.rand(values.shape)).to(values.dtype)
    changed = {stream: streams[stream]._replace(values=noise)}
    return {**sample, 'inputs': {**streams, **changed}}


def silent_of(sample):
    """The same clip, known to lack audio."""
    data_sample = copy.deepcopy(sample['data_samples'])
    data_sample.set_metainfo(dict(has_audio=False))
    return {**sample, 'data_samples': data_sample}


@pytest.mark.parametrize(
    'stream, unaffected',
    [
        ('imgs', {'audio alone'}),
        ('audios', {'video alone', 'without audio'}),
    ],
)
def test_a_part_reads_its_own_modalities_only(
    recognizer, samples, stream, unaffected
):
    assert parts_of(modalities_of(recognizer.model)) == {
        'video alone': ['spatial', 'temporal'],
        'audio alone': ['audio'],
        'without spatial': ['temporal', 'audio'],
        'without temporal': ['spatial', 'audio'],
        'without audio': ['spatial', 'temporal'],
    }
    changed = other_input(samples[0], stream)
    before, after = contributions_of(recognizer, [samples[0], changed])
    assert not torch.allclose(before.whole['label'], after.whole['label'])
    for part, scores in before.parts.items():
        same = torch.allclose(scores['label'], after.parts[part]['label'])
        assert same == (part in unaffected), part


def test_a_clip_without_audio_does_not_answer_from_audio(
    recognizer, samples, silent
):
    sample = silent_of(samples[0])
    found = modality_contributions(recognizer, sample)
    assert found.unknown == {'audio alone': NO_AUDIO}
    assert 'audio alone' not in found.parts
    assert 'video alone' in found.parts
    [prediction] = recognizer.classify([sample], modalities=True)
    [unknown] = [one for one in prediction.modalities if one.unknown]
    assert (unknown.part, unknown.label) == ('audio alone', None)
    text = modalities_table(prediction.modalities)
    assert 'audio alone: does not know: ' in text
    noted = recognizer.prepare(silent, missing_audio='silence')
    found = modality_contributions(recognizer, noted)
    assert found.unknown == {'audio alone': NO_AUDIO}


def test_a_part_that_the_head_does_not_read_is_unknown(toy, tmp_path, samples):
    own = dict(type='Identity')
    cfg = ca2st_config(toy)
    cfg.test_dataloader.dataset.classes = None
    cfg.model.cls_head = dict(
        type='VerbNounHead',
        num_verbs=4,
        num_nouns=8,
        fusions=dict(
            verb=dict(
                in_channels=dict(temporal=16), adapters=dict(temporal=own)
            ),
            noun=dict(
                in_channels=dict(spatial=16, audio=16),
                adapters=dict(spatial=own, audio=own),
            ),
        ),
        average_clips='prob',
    )
    _, checkpoint = save(tmp_path / 'm', cfg)
    recognizer = Recognizer.from_pretrained(checkpoint)
    [prediction] = recognizer.classify(samples[:1], modalities=True)
    for task in ('verb', 'noun'):
        found = {m.part: m for m in prediction.modalities if m.task == task}
        known = {part for part, answer in found.items() if not answer.unknown}
        assert known == {'video alone', 'without spatial', 'without audio'}
        assert "verb off ['temporal']" in found['audio alone'].unknown
    text = modalities_table(prediction.modalities)
    assert 'video alone, verb: ' in text


def test_models_without_several_experts_are_refused(
    recognizers, saved, samples, predict, clip, capsys
):
    with pytest.raises(ValueError, match='several experts.*VideoMAEExpert'):
        modality_contributions(recognizers['alone'], samples[0])
    assert predict(clip, model='alone') == 0
    capsys.readouterr()
    assert predict(clip, '--modalities', model='alone') == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith('error: --modalities: ')
    mixing = Recognizer.from_pretrained(saved['ca2st'][1])
    del mixing.model.cls_head.fusion
    with pytest.raises(ValueError, match='FusionHead does not tell'):
        modality_contributions(mixing, samples[0])


@pytest.mark.parametrize('flag', ['--modalities', '--senses'])
def test_the_command_prints_and_writes_them(
    predict, recognizer, clip, tmp_path, capsys, flag
):
    out = tmp_path / 'out.json'
    assert predict(clip, flag, '--json', out) == 0
    printed = capsys.readouterr()
    assert ('now called --modalities' in printed.err) == (flag == '--senses')
    [record] = json.loads(out.read_text())
    [plain] = recognizer.predict(clip)
    assert record['ranked'] == plain.as_record()['ranked']
    found = modality_contributions(recognizer, recognizer.prepare(clip))
    names = recognizer.class_names['label']
    assert [one['part'] for one in record['modalities']] == [*found.parts]
    for one in record['modalities']:
        scores = found.parts[one['part']]['label']
        assert one['label'] == names[int(scores.argmax())]
        assert one['score'] == pytest.approx(scores.max().item())
        assert one['change'] == found.changes()[one['part']]
        assert f'  {one["part"]}: ' in printed.out


@pytest.mark.parametrize('batch_size', [1, 2, 8])
def test_shuffled_audio_is_that_of_the_clip_with_audio_before(
    recognizer, samples, batch_size
):
    a, b, c, d, e = samples
    mixed = [silent_of(a), b, c, silent_of(d), e]
    answers = survey(recognizer, enumerate(mixed), batch_size)[0]['label']
    assert answers.labels.tolist() == list(range(CLIPS))
    assert answers.has_audio.tolist() == [False, True, True, False, True]
    shuffled = np.exp(answers.shuffled)
    assert np.isnan(shuffled[[0, 1, 3]]).all()
    (_, *expected), last = with_other_audio(recognizer, [b, c, e], None)
    assert last is e
    for row, found in zip((2, 4), expected, strict=True):
        np.testing.assert_allclose(shuffled[row], found['label'], atol=1e-6)
    whole = answers.logs[frozenset(('spatial', 'temporal', 'audio'))]
    for row, sample in enumerate(mixed):
        scores = recognizer.probabilities(recognizer.logits([sample]))
        np.testing.assert_allclose(
            np.exp(whole[row]), scores['label'][0], atol=1e-6
        )


@pytest.mark.parametrize('of', ['logit', 'probability'])
@pytest.mark.parametrize('experts', [False, True])
def test_contributions_add_up(recognizer, samples, of, experts):
    """To what the whole model says minus what the classifier's bias says."""
    found = modality_contributions(recognizer, samples[0])
    bias = recognizer.model.cls_head.fc_cls.bias.detach().softmax(0)
    for label in range(3):
        values = found.shapley(label=label, of=of, experts=experts)
        names = ['audio', 'spatial', 'temporal'] if experts else None
        assert sorted(values) == (names or ['audio', 'video'])
        whole, base = found.whole['label'][label], bias[label]
        if of == 'logit':
            whole, base = whole.log(), base.log()
        assert sum(values.values()) == pytest.approx(
            (whole - base).item(), abs=1e-5
        )


def test_the_report_names_bad_clips_and_writes_all(
    saved, toy, tmp_path, capsys
):
    lines = (toy / 'test.csv').read_text().splitlines()
    (toy / 'bad.mp4').write_text('no video')
    rows = [*lines[: CLIPS + 1], '../bad.mp4,0']
    ids = ['id', 'a', *[''] * CLIPS]
    rows = [f'{i},{row}' for i, row in zip(ids, rows, strict=True)]
    (toy / 'some.csv').write_text('\n'.join(rows) + '\n')
    (toy / 'good.csv').write_text('\n'.join(rows[:-1]) + '\n')
    flags = ('--workers=0', '--ann-file', 'some.csv', '--device', 'cpu')
    flags += ('--calibrate', 'good.csv', '--out', tmp_path / 'a/report')
    tool = 'analysis/modality_report.py'
    assert run_tool(tool, *saved['ca2st'], *flags) == 1
    printed = capsys.readouterr()
    assert 'bad.mp4' in printed.err and OTHER_AUDIO in printed.out
    record = json.loads((tmp_path / 'a/report.json').read_text())
    found = record['data_sets']['some.csv']['label']
    assert found['clips'] == CLIPS
    assert sum(c['clips'] for c in found['classes'].values()) == CLIPS
    assert len(record['bad_clips']) == 1
    figure = tmp_path / 'a/report_some_label.png'
    assert figure.read_bytes().startswith(b'\x89PNG')
    with open(tmp_path / 'a/report_some_label.csv', newline='') as file:
        clips = list(csv.DictReader(file))
    assert all(clip['file'].endswith('.mp4') for clip in clips)
    # What tells clips of one file apart is in their names.
    names = [Path(clip['file']).name for clip in clips]
    assert [clip['clip'] for clip in clips] == [f'{names[0]}/a', *names[1:]]
    for clip in clips:
        parts = float(clip['audio']) + float(clip['video'])
        gain = float(clip['logit']) - float(clip['base'])
        assert parts == pytest.approx(gain, abs=1e-3)
        experts = [v for k, v in clip.items() if k.startswith('expert ')]
        assert sum(map(float, experts)) == pytest.approx(gain, abs=1e-3)
    # Whatever loads the calibrated model gives calibrated probabilities.
    temperature = record['temperature']['label']
    assert temperature > 1.1  # its weights are noise
    assert ('no temperature fits' in printed.err) == (temperature > 19.9)
    config, checkpoint = saved['ca2st']
    plain = Recognizer.from_pretrained(checkpoint)
    samples = [plain.prepare(clip['file']) for clip in clips]
    hot = {'label': plain.logits(samples)['label'] / temperature}
    expected = plain.probabilities(hot)['label']
    calibrated = Recognizer.from_pretrained(tmp_path / 'a/report_calibrated')
    found = calibrated.probabilities(calibrated.logits(samples))['label']
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    dump = tmp_path / 'scores.pkl'
    flags = ('--dump', dump, '--work-dir', tmp_path, '--cfg-options')
    flags += ('test_dataloader.dataset.ann_file=good.csv',)
    stored = tmp_path / 'a/report_calibrated/model.safetensors'
    assert run_tool('test.py', config, stored, *flags) == 0
    tested = np.stack([row['pred_score'] for row in read_dump(dump)])
    np.testing.assert_allclose(tested, expected, atol=1e-5)


def test_a_stopped_report_tells_what_it_knows_and_goes_on(
    saved, toy, tmp_path, monkeypatch
):
    (toy / 'more.csv').write_text((toy / 'test.csv').read_text())
    flags = ('--workers=0', '--device=cpu', '--batch-size=1', '--max-clips=3')
    flags += ('--manifest', 'test.csv', 'more.csv', '--out', tmp_path / 'x')
    read, calls = clip_reports.clips_of, []

    def clips_until(recognizer, manifest, *args):
        calls.append(manifest)
        clips = read(recognizer, manifest, *args)
        if len(calls) == 2:
            yield from islice(clips, 2)
            raise KeyboardInterrupt
        yield from clips

    monkeypatch.setattr(clip_reports, 'clips_of', clips_until)
    for status, clips in ((130, 2), (0, 3), (0, 3)):
        tool = 'analysis/modality_report.py'
        assert run_tool(tool, *saved['ca2st'], *flags) == status
        found = json.loads((tmp_path / 'x.json').read_text())['data_sets']
        assert found['test.csv']['label']['clips'] == 3
        assert found['more.csv']['label']['clips'] == clips
    assert calls == ['test.csv', 'more.csv', 'more.csv']


def test_the_report_compares_with_another_model(saved, toy, tmp_path, capsys):
    flags = ('--workers=0', '--ann-file', 'test.csv', '--device', 'cpu')
    flags += ('--max-clips=3', '--out', tmp_path / 'report')
    right = [
        dict(filename=f'elsewhere/{file}', pred_score=scores, gt_label=label)
        for file, label in csv.reader((toy / 'test.csv').open())
        if file != 'file'
        for label in [[int(label)]]
        for scores in np.eye(12)[label]
    ]
    dump = tmp_path / 'other.pkl'
    dump.write_bytes(pickle.dumps(right))
    tool = 'analysis/modality_report.py'
    flags += ('--against', dump)
    assert run_tool(tool, *saved['ca2st'], *flags) == 0
    record = json.loads((tmp_path / 'report.json').read_text())
    found = record['data_sets']['test.csv']['label']
    top1 = found['coalitions']['audio + spatial + temporal']['top1']
    assert found['against']['difference'] == pytest.approx(top1 - 1)
    assert found['against']['clips'] == 3
    renamed = [dict(row, filename=f'{n}.mp4') for n, row in enumerate(right)]
    for other, words in (
        (renamed, 'differ in the file of clip'),
        (right[:3], 'holds 3 clips with label, test.csv 12 with'),
    ):
        dump.write_bytes(pickle.dumps(other))
        assert run_tool(tool, *saved['ca2st'], *flags) == 2
        assert words in capsys.readouterr().err
    flags = ('--ann-file', 'a/test.csv', 'b/test.csv')
    assert run_tool(tool, *saved['ca2st'], *flags) == 2
    assert 'names must differ' in capsys.readouterr().err
