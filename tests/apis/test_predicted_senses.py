# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A prediction says what each sense alone would have answered."""

import json

import pytest
from mmengine.config import Config
from recognizer_files import save
from shrunk_models import without_init
from tool_runs import ARCH, ROOT, run_tool

from ca2st_mm.apis.modality import which_sense
from ca2st_mm.apis.predicted_senses import classify_with_senses
from ca2st_mm.apis.tables import senses_table


def test_parts_answer_beside_the_same_prediction(recognizer, clip):
    sample = recognizer.prepare(clip)
    [plain] = recognizer.classify([sample])
    [found] = classify_with_senses(recognizer, [sample])
    assert found.ranked == plain.ranked and not plain.senses
    senses = which_sense(recognizer, sample)
    assert [answer.part for answer in found.senses] == list(senses.parts)
    for answer in found.senses:
        scores = senses.parts[answer.part]['label']
        names = recognizer.class_names['label']
        assert answer.label == names[int(scores.argmax())]
        assert answer.score == pytest.approx(scores.max().item())
        assert answer.change == senses.changes()[answer.part]


def test_a_clip_without_sound_does_not_know_by_ear(recognizer, clip):
    sample = recognizer.prepare(clip)
    sample['data_samples'].set_metainfo(dict(has_audio=False))
    [found] = classify_with_senses(recognizer, [sample])
    [mute] = [a for a in found.senses if a.unknown]
    assert (mute.part, mute.label, mute.score) == ('sound alone', None, None)
    assert 'sound alone: does not know: ' in senses_table(found.senses)


def test_the_command_prints_and_writes_them(saved, clip, tmp_path, capsys):
    out = tmp_path / 'out.json'
    flags = ('--model', saved['ca2st'][1], '--device', 'cpu', '--senses')
    assert run_tool('predict.py', clip, *flags, '--json', out) == 0
    printed = capsys.readouterr().out
    [record] = json.loads(out.read_text())
    parts = {answer['part'] for answer in record['senses']}
    assert {'sound alone', 'picture alone', 'without audio'} <= parts
    assert all(f'  {part}: ' in printed for part in parts)


def test_verbs_and_nouns_are_asked_apart(recognizers, clip):
    recognizer = recognizers['verb_noun']
    [found] = classify_with_senses(recognizer, [recognizer.prepare(clip)])
    assert {answer.task for answer in found.senses} == {'verb', 'noun'}
    assert ', verb: ' in senses_table(found.senses)


def test_a_model_of_one_expert_is_refused_in_one_sentence(
    toy, clip, tmp_path, capsys
):
    cfg = Config.fromfile(ROOT / 'configs/toy/videomae_toy.py')
    cfg = Config(without_init(cfg.to_dict()))
    cfg.model.backbone.arch = ARCH
    cfg.model.cls_head.in_channels = ARCH['embed_dims']
    cfg.test_dataloader.dataset.update(data_root=str(toy))
    _, checkpoint = save(tmp_path / 'alone', cfg)
    flags = ('--model', checkpoint, '--device', 'cpu')
    assert run_tool('predict.py', clip, *flags) == 0
    capsys.readouterr()
    assert run_tool('predict.py', clip, *flags, '--senses') == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith('error: --senses: ')
    assert 'VideoMAEExpert alone' in error[-1]
