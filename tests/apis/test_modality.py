# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A part of a model answers from its own senses and from no other."""

import copy
import json
import runpy
import sys

import pytest
import torch
from mmengine.structures import BaseDataElement
from toy_recognizer import ROOT, make_recognizer, write_clips

from ca2st_mm.apis.modality import (
    NO_SOUND,
    which_sense,
    which_senses,
    whole_scores,
    with_sound_of,
)
from ca2st_mm.apis.model_parts import only_experts, parts_of
from ca2st_mm.apis.sense_survey import SenseSurvey, random_order
from ca2st_mm.evaluation.modality_table import (
    SHUFFLED,
    SILENT,
    WHOLE,
    Answer,
    ClipAnswers,
    table,
    table_by_class,
)

CLIPS = 5


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('toy')


@pytest.fixture(scope='module')
def clips(folder):
    return write_clips(folder, CLIPS)


@pytest.fixture(scope='module')
def recognizer(folder, clips):
    return make_recognizer(folder)


@pytest.fixture
def samples(recognizer, clips):
    prepared = [recognizer.prepare(clip) for clip in clips]
    for number, sample in enumerate(prepared):
        sample['data_samples'].set_gt_label(number)
    return prepared


def other_input(sample, stream):
    """The same clip with other values in a stream."""
    values = sample['inputs'][stream].values
    noise = 255 * torch.rand(values.shape)
    return {
        **sample,
        'inputs': {
            **sample['inputs'],
            stream: sample['inputs'][stream]._replace(
                values=noise.to(values.dtype)
            ),
        },
    }


def silent(sample):
    """The same clip, known to lack sound."""
    data_sample = copy.deepcopy(sample['data_samples'])
    data_sample.set_metainfo(dict(has_audio=False))
    return {**sample, 'data_samples': data_sample}


def test_parts_are_senses_and_all_but_one(recognizer):
    assert parts_of(recognizer.model) == {
        'picture alone': ['spatial', 'temporal'],
        'sound alone': ['audio'],
        'without spatial': ['temporal', 'audio'],
        'without temporal': ['spatial', 'audio'],
        'without audio': ['spatial', 'temporal'],
    }


def test_the_whole_is_what_the_recognizer_predicts(recognizer, samples):
    [prediction] = recognizer.classify(samples[:1], top_k=12)
    scores = which_sense(recognizer, samples[0]).whole['label']
    for name, score in prediction.ranked['label']:
        number = recognizer.class_names['label'].index(name)
        assert scores[number].item() == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize(
    'stream, blind',
    [
        ('imgs', {'sound alone'}),
        ('audios', {'picture alone', 'without audio'}),
    ],
)
def test_a_part_reads_its_own_senses_only(recognizer, samples, stream, blind):
    changed = other_input(samples[0], stream)
    before, after = which_senses(recognizer, [samples[0], changed])
    assert not torch.allclose(before.whole['label'], after.whole['label'])
    for part, scores in before.parts.items():
        same = torch.allclose(scores['label'], after.parts[part]['label'])
        assert same == (part in blind), part


def test_an_expert_left_out_has_no_say(folder, samples):
    recognizer = make_recognizer(folder)
    before = which_sense(recognizer, samples[0])
    expert = recognizer.model.backbone.experts['temporal']
    with torch.no_grad():
        for parameter in expert.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    after = which_sense(recognizer, samples[0])
    for part, scores in before.parts.items():
        same = torch.equal(scores['label'], after.parts[part]['label'])
        assert same == (part in ('without temporal', 'sound alone')), part


def test_picture_alone_is_the_path_of_a_clip_without_sound(folder, samples):
    """As the backbone drops an expert whose input is missing."""
    recognizer = make_recognizer(folder, backbone=dict(missing_inputs='drop'))
    found = which_sense(recognizer, samples[0]).parts['picture alone']
    without = {
        key: value
        for key, value in samples[0]['inputs'].items()
        if not key.startswith('audios')
    }
    [expected] = whole_scores(recognizer, [{**samples[0], 'inputs': without}])
    assert torch.equal(found['label'], expected['label'])


def test_the_backbone_is_put_back(recognizer):
    backbone = recognizer.model.backbone
    before = dict(backbone.inputs), backbone.missing_inputs
    with pytest.raises(KeyError), only_experts(backbone, []):
        backbone(imgs=torch.zeros(1))
    assert (backbone.inputs, backbone.missing_inputs) == before


def test_changes_are_of_the_class_that_the_whole_model_chose(
    recognizer, samples
):
    found = which_sense(recognizer, samples[0])
    best = found.whole['label'].argmax()
    for part, change in found.changes().items():
        difference = found.parts[part]['label'] - found.whole['label']
        assert change == pytest.approx(difference[best].item())


def test_a_clip_without_sound_is_not_heard(recognizer, samples):
    found = which_sense(recognizer, silent(samples[0]))
    assert found.unknown == {'sound alone': NO_SOUND}
    assert 'sound alone' not in found.parts
    assert 'picture alone' in found.parts


def test_a_part_that_the_head_does_not_read_is_unknown(tmp_path, samples):
    own = dict(type='Identity')
    head = dict(
        _delete_=True,
        type='VerbNounHead',
        num_verbs=4,
        num_nouns=8,
        fusions=dict(
            verb=dict(
                in_channels=dict(temporal=64), adapters=dict(temporal=own)
            ),
            noun=dict(
                in_channels=dict(spatial=64, audio=64),
                adapters=dict(spatial=own, audio=own),
            ),
        ),
        average_clips='prob',
    )
    recognizer = make_recognizer(
        tmp_path,
        cls_head=head,
        dataset=dict(classes=None),
    )
    found = which_sense(recognizer, samples[0])
    assert set(found.whole) == {'verb', 'noun'}
    assert set(found.parts) == {
        *('picture alone', 'without spatial', 'without audio')
    }
    assert "verb off ['temporal']" in found.unknown['sound alone']


def test_a_single_expert_is_refused(folder, samples):
    recognizer = make_recognizer(folder, 'videomae_toy')
    with pytest.raises(ValueError, match='several experts.*VideoMAEExpert'):
        which_sense(recognizer, samples[0])


def test_a_head_that_mixes_its_experts_is_refused(folder, samples):
    recognizer = make_recognizer(folder)
    del recognizer.model.cls_head.fusion
    with pytest.raises(ValueError, match='FusionHead does not tell'):
        which_sense(recognizer, samples[0])


def survey(recognizer, samples, batch_size=2):
    found = SenseSurvey(recognizer, batch_size)
    for sample in samples:
        found.add(sample)
    return found.finish()['label']


@pytest.mark.parametrize('batch_size', [1, 2, 8])
def test_each_clip_hears_the_one_before(recognizer, samples, batch_size):
    answers = survey(recognizer, samples, batch_size)
    assert [answer.label for answer in answers] == list(range(CLIPS))
    for number, answer in enumerate(answers):
        mixed = with_sound_of(samples[number], samples[number - 1])
        [scores] = whole_scores(recognizer, [mixed])
        expected = scores['label'][number].item()
        found = answer.by_part[SHUFFLED].probability
        assert found == pytest.approx(expected, abs=1e-6)
        own = answer.by_part[WHOLE].probability
        assert found != pytest.approx(own, abs=1e-6)


def test_clips_without_sound_neither_lend_nor_borrow(recognizer, samples):
    mixed = [silent(samples[0]), *samples[1:3], silent(samples[3]), samples[4]]
    answers = survey(recognizer, mixed)
    heard = [SHUFFLED in answer.by_part for answer in answers]
    assert heard == [False, True, True, False, True]
    expected = survey(recognizer, [samples[1], samples[2], samples[4]])
    found = [answers[number] for number in (1, 2, 4)]
    for a, b in zip(found, expected, strict=True):
        close = pytest.approx(b.by_part[SHUFFLED].probability, abs=1e-6)
        assert a.by_part[SHUFFLED].probability == close


def test_one_clip_alone_has_no_other_sound(recognizer, samples):
    [answer] = survey(recognizer, samples[:1])
    assert SHUFFLED not in answer.by_part


def test_order_is_drawn_by_the_seed():
    assert random_order(9, None, 1) == random_order(9, None, 1)
    assert random_order(9, None, 1) != random_order(9, None, 2)
    assert sorted(random_order(9, None, 1)) == list(range(9))
    assert random_order(9, 4, 1) == random_order(9, None, 1)[:4]


def answers(label, has_sound, **hits):
    names = dict(whole=WHOLE, sound='sound alone')
    return ClipAnswers(
        label,
        has_sound,
        {names[k]: Answer(hit, hit / 2) for k, hit in hits.items()},
    )


def test_changes_in_a_table_are_on_the_same_clips():
    clips = [
        answers(0, True, whole=True, sound=True),
        answers(0, True, whole=True, sound=False),
        answers(1, False, whole=False),
    ]
    rows = table(clips)
    assert rows[WHOLE] == (3, pytest.approx(2 / 3), 0, pytest.approx(1 / 3))
    assert rows['sound alone'] == (2, 0.5, -0.5, 0.25)
    assert rows[SILENT] == (1, 0, 0, 0)
    by_class = table_by_class(clips)
    assert by_class[0]['sound alone'] == (2, 0.5, -0.5, 0.25)
    assert 'sound alone' not in by_class[1]


def test_report_names_bad_clips_and_writes_all(
    folder, recognizer, tmp_path, monkeypatch, capsys
):
    lines = (folder / 'test.csv').read_text().splitlines()
    (folder / 'bad.mp4').write_text('no video')
    (folder / 'some.csv').write_text(
        '\n'.join([*lines, '../bad.mp4,0']) + '\n'
    )
    base = ROOT / 'configs' / 'toy' / 'ca2st_toy.py'
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = '{base}'\n"
        f"test_dataloader = dict(dataset=dict(data_root='{folder}'))\n"
    )
    argv = ['x', str(config), str(folder / 'ca2st_toy.pth'), '--workers=0']
    argv += ['--manifest', 'some.csv', '--out', str(tmp_path / 'a/report')]
    monkeypatch.setattr(sys, 'argv', argv)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(
            str(ROOT / 'tools/analysis/modality_report.py'),
            run_name='__main__',
        )
    assert stop.value.code == 1
    printed = capsys.readouterr()
    assert 'bad.mp4' in printed.err and SHUFFLED in printed.out
    record = json.loads((tmp_path / 'a/report.json').read_text())
    found = record['data_sets']['some.csv']['label']
    assert found['parts'][WHOLE]['clips'] == CLIPS
    assert sum(c[WHOLE]['clips'] for c in found['classes'].values()) == CLIPS
    assert len(record['bad_clips']) == 1
    picture = tmp_path / 'a/report_some_label.png'
    assert picture.read_bytes().startswith(b'\x89PNG')


def test_sound_is_known_by_what_the_pipeline_or_the_recognizer_noted():
    from ca2st_mm.apis.modality import has_no_sound

    class Views:
        has_sound = False

    for meta, expected in [
        (dict(has_audio=False), True),
        (dict(has_audio=True), False),
        (dict(views=Views()), True),
        (dict(), False),
    ]:
        sample = dict(data_samples=BaseDataElement(metainfo=meta))
        assert has_no_sound(sample) == expected, meta
