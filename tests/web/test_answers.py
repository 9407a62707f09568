# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The page says what the other entry points say."""

import base64
import copy
import io

import page_server  # noqa: F401  skips without the packages of the page
import pytest
from PIL import Image
from toy_recognizer import make_recognizer

from ca2st_mm.apis.modality_contributions import modality_contributions
from ca2st_mm.apis.sources import InferencePipeline, dataset_of
from ca2st_mm.visualization.style import FigureInputError
from ca2st_mm.web import answers as web_answers
from ca2st_mm.web.answers import Answers


@pytest.mark.parametrize('clip', ['short', 'long'])
def test_names_are_those_of_the_recognizer(answers, recognizer, media, clip):
    found = answers.names(media[clip])
    [prediction] = recognizer.predict(media[clip])
    expected = prediction.as_record()
    assert found['ranked'] == expected['ranked']
    assert found['views'] == expected['views']
    assert found['notes'] == [recognizer.about]


def test_windows_tile_the_clip_and_are_spans_of_it(answers, recognizer, media):
    found = answers.timeline(media['long'])
    spans = found['spans']
    assert [span['start'] for span in spans] == [0, 2, 4]
    assert spans[-1]['end'] == pytest.approx(5, abs=0.02)
    [middle] = recognizer.predict(media['long'], 2, 4)
    assert (spans[1]['label'], spans[1]['score']) == middle.ranked['label'][0]


def test_a_long_clip_has_longer_windows_not_more(
    recognizer, media, monkeypatch
):
    monkeypatch.setattr(web_answers, '_MOST_WINDOWS', 4)
    found = Answers(recognizer, window=0.01).timeline(media['long'])
    assert len(found['spans']) == 4
    assert found['window'] == pytest.approx(5 / 4, rel=0.01)


def test_a_short_clip_has_no_time_line(answers, media):
    assert answers.timeline(media['short']) == dict(
        note='The clip is one window: 2 s or less.'
    )


def test_bars_are_about_the_class_that_was_given(answers, recognizer, media):
    [best, *_] = answers.names(media['long'])['ranked']['label']
    found = answers.modalities(media['long'])['tasks']['label']
    assert found['chosen'] == best['label']
    bars = {bar['part']: bar for bar in found['bars']}
    assert bars['whole model']['score'] == pytest.approx(best['score'])
    names = recognizer.class_names['label']
    sample = recognizer.prepare(media['long'])
    parts = modality_contributions(recognizer, sample).parts
    assert set(bars) == {'whole model', *parts}
    for part, scores in parts.items():
        scores = dict(zip(names, scores['label'].tolist(), strict=True))
        bar = bars[part]
        assert bar['score'] == pytest.approx(scores[best['label']], abs=1e-6)
        assert bar['best'] == max(scores, key=scores.get)
        assert bar['best_score'] == pytest.approx(max(scores.values()))


def test_a_clip_without_audio_is_answered_without_the_audio_expert(
    answers, recognizer, media
):
    """As ``tools/predict.py --missing-audio drop`` does, and says so."""
    found = answers.names(media['silent'])
    [expected] = recognizer.predict(media['silent'], missing_audio='drop')
    assert found['ranked'] == expected.as_record()['ranked']
    assert found['views']['audio'] is None
    assert found['notes'][1:] == [
        'No audio: predicted without the expert audio.'
    ]
    assert 'only video' in answers.modalities(media['silent'])['note']
    spans = answers.timeline(media['silent'])['spans']
    assert [span['start'] for span in spans] == [0, 2]
    [second] = recognizer.predict(
        media['silent'], start=2, missing_audio='drop'
    )
    label, score = second.ranked['label'][0]
    assert (spans[1]['label'], spans[1]['score']) == (label, score)
    names = [c['name'] for c in answers.attention(media['silent'])['choices']]
    assert names and not any('audio' in name for name in names)


@pytest.mark.parametrize('policy', ['silence', 'drop'])
def test_the_policy_of_the_config_comes_first(recognizer, media, policy):
    configured = copy.copy(recognizer)
    steps = copy.deepcopy(dataset_of(recognizer.cfg)['pipeline'])
    for step in steps:
        if step['type'] == 'LoadAudio':
            step['missing_audio'] = policy
    configured.pipeline = InferencePipeline(steps)
    found = Answers(configured).names(media['silent'])
    [expected] = recognizer.predict(media['silent'], missing_audio=policy)
    assert found['ranked'] == expected.as_record()['ranked']
    silence = found['notes'][1:] == ['No audio: silence was put in its place.']
    assert silence == (policy == 'silence')


def test_any_link_and_layer_can_be_drawn(answers, recognizer, media):
    first = answers.attention(media['short'])
    choices = {choice['name']: choice for choice in first['choices']}
    for a, b in (('spatial', 'temporal'), ('temporal', 'audio')):
        assert {f'{a}_from_{b}', f'{b}_from_{a}'} < set(choices)
    assert not first['name'].endswith('_self')
    assert choices['audio_from_spatial']['text'] == 'audio attends to spatial'
    asked = answers.attention(media['short'], 'audio_self', 1)
    assert (asked['name'], asked['layer']) == ('audio_self', 1)
    figures = []
    for found in (first, asked):
        kind, data = found['figure'].split(',')
        assert kind == 'data:image/png;base64'
        figure = Image.open(io.BytesIO(base64.b64decode(data)))
        figures.append(figure.convert('RGB').getcolors(1 << 20))
    assert figures[0] != figures[1]
    assert min(map(len, figures)) > 100  # not an empty sheet


@pytest.mark.parametrize(
    'name, layer, message',
    [
        ('audio_from_moon', None, "no attention 'audio_from_moon'"),
        ('audio_from_spatial', 0, 'no layer 0; the layers are 2, 3'),
        (None, 99, 'no layer 99'),
    ],
)
def test_attention_that_is_not_there_is_named(
    answers, media, name, layer, message
):
    with pytest.raises(FigureInputError, match=message):
        answers.attention(media['short'], name, layer)


def test_a_lone_expert_has_neither_modalities_nor_links(media):
    answers = Answers(make_recognizer(media['folder'], 'clip_toy'))
    assert answers.names(media['short'])['ranked']['label']
    assert 'several experts' in answers.modalities(media['short'])['note']
    assert 'no links' in answers.attention(media['short'])['note']
