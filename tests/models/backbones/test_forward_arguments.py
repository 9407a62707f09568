# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Some experts alone, tokens and attention are arguments of forward."""

import itertools

import pytest
import tiny_models as tiny
import torch

DEPTH, BATCH = tiny.DEPTH, tiny.BATCH
INPUTS = tiny.timed()


def model(cfg=tiny.CA2ST, **changes):
    return tiny.noisy(cfg, **changes)


@pytest.mark.parametrize('exchange', ['sequential', 'additive'])
@pytest.mark.parametrize(
    'experts', [['spatial'], ['temporal', 'spatial'], ['audio', 'temporal']]
)
def test_some_experts_are_a_model_without_the_others(experts, exchange):
    whole = model(exchange=exchange)
    names = [name for name in whole.experts if name in experts]
    links = [
        link
        for link in tiny.CA2ST['links']
        if set(link['between']) <= set(experts)
    ]
    parts = {
        key: {name: tiny.CA2ST[key][name] for name in names}
        for key in ('experts', 'inputs')
    }
    alone = tiny.build(tiny.CA2ST, **parts, links=links, exchange=exchange)
    state = whole.state_dict()
    alone.load_state_dict({key: state[key] for key in alone.state_dict()})
    tiny.assert_same(whole(**INPUTS, experts=experts), alone(**INPUTS))


def test_an_input_of_an_expert_that_does_not_run_may_be_missing():
    whole = model()
    imgs = INPUTS['imgs']
    assert set(whole(imgs, experts=['spatial'])) == {'spatial'}
    with pytest.raises(KeyError, match="'audio': 'audios'"):
        whole(imgs, experts=['audio', 'spatial'])


@pytest.mark.parametrize(
    'asked, message',
    [
        (dict(experts=['flow']), 'no expert.*flow.*spatial'),
        (dict(return_tokens=[2]), r'layers 0 to 1, got \[2\]'),
        (dict(return_attention=[-1]), r'layers 0 to 1, got \[-1\]'),
        (
            dict(return_attention=True, attention_head=2),
            '2 heads and none of index 2',
        ),
    ],
)
def test_what_does_not_exist_is_named(asked, message):
    with pytest.raises(ValueError, match=message):
        model()(**INPUTS, **asked)


@pytest.mark.parametrize(
    'asked',
    [
        dict(return_tokens=True),
        dict(return_tokens=[0]),
        dict(return_attention=True),
        dict(return_attention=[DEPTH - 1], attention_head=1),
        dict(return_tokens=[DEPTH - 1], return_attention=[0]),
    ],
)
@pytest.mark.parametrize('activations', ['store', 'recompute'])
def test_asking_for_more_changes_no_feature(asked, activations):
    whole = model(activations=activations)
    before = whole(**INPUTS)
    tiny.assert_same(whole(**INPUTS, **asked).features, before)
    tiny.assert_same(whole(**INPUTS), before)


def test_tokens_are_whole_in_every_layer_and_pool_to_the_features():
    whole = model()
    out = whole(**INPUTS, return_tokens=True)
    assert not out.attention
    assert set(out.tokens) == {
        (name, layer) for name in whole.experts for layer in range(DEPTH)
    }
    for (name, layer), tokens in out.tokens.items():
        spec = whole.experts[name].token_spec
        assert tokens.shape == (
            BATCH,
            spec.num_steps,
            spec.num_prefix_tokens + spec.num_patches,
            spec.embed_dims,
        )
        if layer == DEPTH - 1:
            pooled = whole.experts[name].pool(tokens)
            torch.testing.assert_close(out.features[name], pooled)


def test_attention_of_every_expert_and_of_both_directions_of_every_link():
    whole = model()
    found = whole(**INPUTS, return_attention=True).attention
    pairs = [(name, name) for name in whole.experts]
    for _, a, b in whole.pairs[0]:
        pairs += [(a, b), (b, a)]
    assert set(found) == {
        (*pair, layer) for pair in pairs for layer in range(DEPTH)
    }
    specs = {name: e.token_spec for name, e in whole.experts.items()}
    for (query, context, _), (axis, weights) in found.items():
        # Links read patches only.
        prefix = specs[query].num_prefix_tokens if query == context else 0
        steps, other_steps = (specs[n].num_steps for n in (query, context))
        places, other_places = (
            prefix + specs[name].num_patches for name in (query, context)
        )
        shapes = dict(
            time=(places, steps, other_steps),
            space=(steps, places, other_places),
            all=(1, steps * places, other_steps * other_places),
        )
        assert weights.shape == (BATCH, *shapes[axis])
        torch.testing.assert_close(
            weights.sum(-1), torch.ones(weights.shape[:-1])
        )


def test_wrapped_experts_have_tokens_and_attention():
    experts = dict(spatial=tiny.CLIP, temporal=tiny.MMACTION)
    whole = model(tiny.CAST, experts=experts)
    out = whole(INPUTS['imgs'], return_tokens=[0], return_attention=[0])
    assert set(out.tokens) == {('spatial', 0), ('temporal', 0)}
    pairs = itertools.product(experts, repeat=2)
    assert set(out.attention) == {(*pair, 0) for pair in pairs}


@pytest.mark.parametrize('limit', [None, 2])
def test_the_recognizer_returns_it_for_all_views(limit):
    limits = dict(max_testing_views=limit)
    recognizer = tiny.recognizer(tiny.CA2ST, test_cfg=limits)
    views = tiny.views()
    out, _ = recognizer.extract_feat(
        views, test_mode=True, return_tokens=[1], return_attention=[1]
    )
    expected = recognizer.backbone(
        **INPUTS, return_tokens=[1], return_attention=[1]
    )
    tiny.assert_same(out.features, expected.features)
    tiny.assert_same(out.tokens, expected.tokens)
    for place, (axis, weights) in expected.attention.items():
        assert out.attention[place].axis == axis
        torch.testing.assert_close(out.attention[place].weights, weights)
    found, _ = recognizer.extract_feat(
        views, stage='head', test_mode=True, experts=['audio']
    )
    logits = recognizer.cls_head(
        recognizer.backbone(**INPUTS, experts=['audio'])
    )
    torch.testing.assert_close(found, logits)
    samples = tiny.samples([0] * BATCH)
    samples = recognizer(views, samples, mode='predict', experts=['audio'])
    for sample, row in zip(samples, logits, strict=True):
        torch.testing.assert_close(sample.pred_score, row.softmax(-1))
