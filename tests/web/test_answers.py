# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The page says what the other doors say."""

import base64
import io
import threading

import pytest
import torch
from PIL import Image
from toy_recognizer import make_recognizer

from ca2st_mm.apis.modality import which_sense
from ca2st_mm.visualization.style import FigureInputError
from ca2st_mm.web.answers import Answers
from ca2st_mm.web.senses import verdict


@pytest.mark.parametrize('clip', ['short', 'long'])
def test_names_are_those_of_the_recognizer(answers, recognizer, media, clip):
    found = answers.names(media[clip])
    [prediction] = recognizer.predict(media[clip])
    expected = prediction.as_record()
    assert found['ranked'] == expected['ranked']
    assert found['views'] == expected['views']
    assert found['notes'] == []


def test_windows_tile_the_clip_and_are_spans_of_it(answers, recognizer, media):
    found = answers.timeline(media['long'])
    spans = found['spans']
    assert [span['start'] for span in spans] == [0, 2, 4]
    assert spans[-1]['end'] == pytest.approx(5, abs=0.02)
    [middle] = recognizer.predict(media['long'], 2, 4)
    assert (spans[1]['label'], spans[1]['score']) == middle.ranked['label'][0]


def test_a_long_clip_has_longer_windows_not_more(recognizer, media):
    found = Answers(recognizer, window=0.01).timeline(media['long'])
    assert len(found['spans']) == 30
    assert found['window'] == pytest.approx(5 / 30, rel=0.01)


def test_a_short_clip_has_no_time_line(answers, media):
    assert answers.timeline(media['short']) == dict(
        note='The clip is one window: 2 s or less.'
    )


def test_bars_of_senses_are_about_the_name_that_was_given(
    answers, recognizer, media
):
    [best, *_] = answers.names(media['long'])['ranked']['label']
    found = answers.senses(media['long'])['tasks']['label']
    assert found['chosen'] == best['label']
    bars = {bar['part']: bar for bar in found['bars']}
    assert bars['whole model']['score'] == pytest.approx(best['score'])
    chosen = recognizer.class_names['label'].index(best['label'])
    parts = which_sense(recognizer, recognizer.prepare(media['long'])).parts
    assert set(bars) == {'whole model', *parts}
    for part, scores in parts.items():
        asked = scores['label'][chosen].item()
        assert bars[part]['score'] == pytest.approx(asked)


@pytest.mark.parametrize(
    'picture, sound, said',
    [
        ('a', 'a', 'Picture alone gives this name; so does sound alone.'),
        ('a', 'b', 'Picture alone gives this name; sound alone does not.'),
        ('b', 'a', 'Sound alone gives this name; picture alone does not.'),
        ('b', 'b', 'No sense alone gives this name: it took them together.'),
    ],
)
def test_the_verdict_says_who_agrees(picture, sound, said):
    named = {
        'whole model': 'a',
        'picture alone': picture,
        'sound alone': sound,
        'without audio': 'b',
    }
    bars = [dict(part=part, best=name) for part, name in named.items()]
    assert verdict('a', bars) == said


def test_nobody_listens_to_a_silent_clip(media, tmp_path):
    (tmp_path / 'classes.txt').write_text(
        (media['folder'] / 'classes.txt').read_text()
    )
    recognizer = make_recognizer(tmp_path)
    answers = Answers(recognizer)
    before = answers.names(media['silent'])
    heard = answers.names(media['long'])
    assert 'no sound' in before['notes'][0]
    assert before['views']['sound'] is None
    assert 'the picture decided' in answers.senses(media['silent'])['note']
    assert len(answers.timeline(media['silent'])['spans']) == 2
    names = [c['name'] for c in answers.attention(media['silent'])['choices']]
    assert not any('audio' in name for name in names)
    with torch.no_grad():
        for weight in recognizer.model.backbone.experts['audio'].parameters():
            weight.mul_(-1.5)
    assert answers.names(media['silent'])['ranked'] == before['ranked']
    # The model is whole again for a clip that sounds.
    assert answers.names(media['long'])['ranked'] != heard['ranked']


def test_any_link_and_layer_can_be_drawn(answers, recognizer, media):
    first = answers.attention(media['short'])
    choices = {choice['name']: choice for choice in first['choices']}
    for a, b in (('spatial', 'temporal'), ('temporal', 'audio')):
        assert {f'{a}_from_{b}', f'{b}_from_{a}'} < set(choices)
    assert not first['name'].endswith('_self')
    assert choices['audio_from_spatial']['text'] == 'audio looks at spatial'
    asked = answers.attention(media['short'], 'audio_self', 0)
    assert (asked['name'], asked['layer']) == ('audio_self', 0)
    pictures = []
    for found in (first, asked):
        kind, data = found['picture'].split(',')
        assert kind == 'data:image/png;base64'
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        pictures.append(picture.convert('RGB').getcolors(1 << 20))
    assert pictures[0] != pictures[1]
    assert min(map(len, pictures)) > 100  # not an empty sheet


@pytest.mark.parametrize(
    'name, layer, message',
    [
        ('audio_from_moon', None, "no attention 'audio_from_moon'"),
        ('audio_from_spatial', 0, 'no layer 0; the layers are 1, 2'),
        (None, 99, 'no layer 99'),
    ],
)
def test_attention_that_is_not_there_is_named(
    answers, media, name, layer, message
):
    with pytest.raises(FigureInputError, match=message):
        answers.attention(media['short'], name, layer)


def test_askers_do_not_disturb_each_other(answers, media):
    alone = answers.names(media['short'])
    found, threads = [], []
    for _ in range(4):
        threads += [
            threading.Thread(target=answers.senses, args=[media['short']]),
            threading.Thread(
                target=lambda: found.append(answers.names(media['short']))
            ),
        ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 4


def test_a_lone_expert_has_neither_senses_nor_links(media):
    answers = Answers(make_recognizer(media['folder'], 'clip_toy'))
    assert answers.names(media['short'])['ranked']['label']
    assert 'several experts' in answers.senses(media['short'])['note']
    assert 'no links' in answers.attention(media['short'])['note']
