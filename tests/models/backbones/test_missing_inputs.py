# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Clips without audio: for the whole batch, or sample by sample."""

import pytest
import torch
from tiny_models import CA2ST, CAST, build, difference, randomize, streams

EXCHANGES = pytest.mark.parametrize('exchange', ['sequential', 'additive'])
HEAD = dict(
    type='FusionHead',
    num_classes=7,
    in_channels=dict(spatial=16, temporal=16, audio=16),
)


def ca2st(exchange):
    return randomize(build(CA2ST, exchange=exchange, missing_inputs='drop'))


@EXCHANGES
def test_drop_equals_a_model_without_that_expert(exchange):
    backbone = ca2st(exchange)
    without = build(CAST, exchange=exchange)
    own = set(without.state_dict())
    state = backbone.state_dict()
    without.load_state_dict({k: v for k, v in state.items() if k in own})
    imgs = streams()['imgs']
    feats, expected = backbone(imgs), without(imgs)
    assert set(feats) == {'spatial', 'temporal'}
    for name, value in expected.items():
        assert torch.equal(feats[name], value)


@EXCHANGES
def test_drop_works_for_the_frames_too(exchange):
    backbone = ca2st(exchange)
    audios = streams()['audios']
    feats = backbone(audios=audios)
    assert torch.equal(feats['audio'], backbone.experts['audio'](audios))
    assert set(feats) == {'audio'}


@EXCHANGES
@pytest.mark.parametrize('reduction', ['sum', 'mean'])
def test_presence_drops_sample_by_sample(exchange, reduction):
    backbone = ca2st(exchange)
    head = randomize(build(HEAD, reduction=reduction))
    inputs = streams()
    present = torch.tensor([1.0, 0.0, 1.0])
    logits = head(backbone(**inputs, audios_present=present))
    whole = head(backbone(**inputs))
    silent = head(backbone(inputs['imgs']))
    expected = torch.stack((whole[0], silent[1], whole[2]))
    assert difference(logits, expected) < 1e-5
    assert difference(whole[1], silent[1]) > 1e-3


@EXCHANGES
def test_present_everywhere_is_the_normal_case(exchange):
    backbone = ca2st(exchange)
    normal = backbone(**streams())
    flagged = backbone(**streams(), audios_present=torch.ones(3))
    assert torch.equal(flagged.pop('audio_present'), torch.ones(3, 1))
    for name, value in normal.items():
        assert difference(flagged[name], value) < 1e-6


@EXCHANGES
def test_what_an_absent_sample_holds_does_not_matter(exchange):
    backbone, head = ca2st(exchange), randomize(build(HEAD))
    inputs, present = streams(), torch.tensor([1.0, 0.0, 1.0])
    before = head(backbone(**inputs, audios_present=present))
    inputs['audios'][1] += 5
    after = head(backbone(**inputs, audios_present=present))
    assert difference(before, after) < 1e-6


def test_a_missing_input_raises_by_default():
    with pytest.raises(
        KeyError, match="'audio': 'audios'.*missing_inputs='drop'"
    ):
        build(CA2ST)(streams()['imgs'])


def test_no_input_at_all_raises():
    with pytest.raises(KeyError, match='no expert has an input'):
        build(CA2ST, missing_inputs='drop')(flows=streams()['imgs'])
