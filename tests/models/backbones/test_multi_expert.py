# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Links set in the config, and a state dict that stays readable."""

import copy

import pytest
import torch
from tiny_models import (
    ARCH,
    AST,
    B_CA,
    CA2ST,
    CAST,
    CLIP,
    DEPTH,
    SPACE_AUDIO,
    SPACE_TIME,
    TIME_AUDIO,
    VIDEOMAE,
    build,
    difference,
    randomize,
    streams,
    times,
)

from ca2st_mm.models.backbones.multi_expert import exchange_additively

TIMED = dict(
    CA2ST,
    links=[
        SPACE_TIME,
        dict(SPACE_AUDIO, position='timestamp'),
        dict(TIME_AUDIO, position='timestamp'),
    ],
    time_encoders=dict(imgs=dict(embed_dims=8), audios=dict(embed_dims=8)),
)


def same(feats, others):
    assert set(feats) == set(others)
    return all(torch.equal(feats[name], others[name]) for name in feats)


def far(feats, others):
    return max(difference(feats[name], others[name]) for name in feats)


@pytest.mark.parametrize('exchange', ['sequential', 'additive'])
@pytest.mark.parametrize('cfg', [CA2ST, TIMED])
def test_at_init_it_equals_each_expert_alone(cfg, exchange):
    backbone = build(cfg, exchange=exchange)
    inputs = {**streams(), **times()}
    feats = backbone(**inputs)
    for name, expert in backbone.experts.items():
        alone = expert(inputs[backbone.inputs[name]])
        assert difference(feats[name], alone) == 0


def test_order_matters_when_sequential():
    feats = randomize(build(CA2ST))(**streams())
    reverse = build(CA2ST, links=CA2ST['links'][::-1])
    reverse.load_state_dict(randomize(build(CA2ST)).state_dict())
    assert far(reverse(**streams()), feats) > 1e-3


def test_order_does_not_matter_when_additive():
    cfg = dict(CA2ST, exchange='additive')
    backbone = randomize(build(cfg))
    reverse = build(cfg, links=cfg['links'][::-1])
    reverse.load_state_dict(backbone.state_dict())
    assert far(reverse(**streams()), backbone(**streams())) < 1e-5


def test_additive_is_the_mean_of_the_updates():
    cfg = dict(CA2ST, exchange='additive')
    backbone = randomize(build(cfg))
    inputs = dict(streams(), imgs=streams()['imgs'])
    tokens = {
        name: expert.forward_attn(expert.embed(inputs[key]), 0)
        for (name, expert), key in zip(
            backbone.experts.items(), backbone.inputs.values(), strict=True
        )
    }
    links = {(a, b): backbone.links[0][key] for key, a, b in backbone.pairs[0]}
    out = exchange_additively(tokens, links, {}, {})
    s, t, a = (tokens[name] for name in ('spatial', 'temporal', 'audio'))
    st, sa, ta = links.values()
    spatial = s + (st(s, t)[0] + sa(s, a)[0]) / 2
    temporal = t + (st(s, t)[1] + ta(t, a)[0]) / 2
    audio = a + (sa(s, a)[1] + ta(t, a)[1]) / 2
    assert difference(out['spatial'], spatial) < 1e-5
    assert difference(out['temporal'], temporal) < 1e-5
    assert difference(out['audio'], audio) < 1e-5


def test_one_link_gives_the_same_both_ways():
    backbone = randomize(build(CAST))
    additive = build(CAST, exchange='additive')
    additive.load_state_dict(backbone.state_dict())
    imgs = streams()['imgs']
    assert same(additive(imgs), backbone(imgs))


def test_start_layer_leaves_earlier_layers_without_the_link():
    late = dict(SPACE_AUDIO, start_layer=1)
    backbone = build(CA2ST, links=[SPACE_TIME, late])
    assert [list(layer) for layer in backbone.links] == [
        ['spatial_temporal'],
        ['spatial_temporal', 'spatial_audio'],
    ]
    with pytest.raises(ValueError, match='start_layer 2.*0 to 1'):
        build(CA2ST, links=[dict(SPACE_AUDIO, start_layer=2)])


def test_links_of_a_layer_differ_from_those_of_the_next():
    backbone = build(CAST)
    first, second = (layer['spatial_temporal'] for layer in backbone.links)
    ours = {id(p) for p in first.parameters()}
    assert not ours & {id(p) for p in second.parameters()}


@pytest.mark.parametrize('share', [True, False])
def test_shared_bottlenecks_are_one_object(share):
    backbone = build(CA2ST, share_bottlenecks=share)
    for layer in backbone.links:
        st, sa, ta = layer.values()
        assert (st.bottleneck_a is sa.bottleneck_a) == share
        assert (st.bottleneck_b is ta.bottleneck_a) == share
        assert (sa.bottleneck_b is ta.bottleneck_b) == share
        assert st.norm_a is not sa.norm_a
    first, second = backbone.links
    assert (
        first['spatial_temporal'].bottleneck_a
        is not second['spatial_temporal'].bottleneck_a
    )


def test_a_copy_keeps_sharing():
    backbone = randomize(build(CA2ST, share_bottlenecks=True))
    other = copy.deepcopy(backbone)
    for layer in other.links:
        st, sa, _ = layer.values()
        assert st.bottleneck_a is sa.bottleneck_a
    ours = {id(p) for p in backbone.parameters()}
    assert not ours & {id(p) for p in other.parameters()}
    assert same(other(**streams()), backbone(**streams()))


def test_state_dict_keys_are_those_of_lone_experts_plus_links():
    backbone = build(TIMED)
    keys = set(backbone.state_dict())
    expected = {
        f'experts.{name}.{key}'
        for name, expert in backbone.experts.items()
        for key in build(CA2ST['experts'][name]).state_dict()
        if expert is not None
    }
    assert expected <= keys
    prefixes = {key.split('.')[0] for key in keys - expected}
    assert prefixes == {'links', 'time_encoders'}
    pairs = {
        tuple(key.split('.')[1:3]) for key in keys if key.startswith('links.')
    }
    names = ('spatial_temporal', 'spatial_audio', 'temporal_audio')
    assert pairs == {(str(i), n) for i in range(DEPTH) for n in names}


def test_only_what_is_frozen_gets_no_gradient():
    backbone = randomize(build(TIMED)).train()
    feats = backbone(**streams(), **times())
    sum(feat.square().sum() for feat in feats.values()).backward()
    for key, parameter in backbone.named_parameters():
        is_expert = key.startswith('experts.')
        is_norm = key.split('.')[2] == 'norm' and 'audio' not in key
        expected = not is_expert or '.adapter.' in key or is_norm
        assert parameter.requires_grad == expected, key
        assert (parameter.grad is not None) == expected, key


def test_times_matter_and_streams_may_share_an_encoder():
    backbone = randomize(build(TIMED))
    clocks = times()
    feats = backbone(**streams(), **clocks)
    late = dict(clocks, audios_times=clocks['audios_times'] + 1)
    assert far(backbone(**streams(), **late), feats) > 1e-4
    one = build(
        TIMED, time_encoders=dict(imgs=dict(embed_dims=8), audios='imgs')
    )
    assert list(one.time_encoders) == ['imgs']
    one(**streams(), **clocks)
    with pytest.raises(KeyError, match="times of the stream 'imgs'"):
        backbone(**streams())


def test_drop_path_grows_over_the_layers_and_has_a_unit_per_expert():
    link = dict(
        SPACE_TIME, drop_path_rate=0.2, drop_path_unit=dict(spatial='token')
    )
    backbone = build(CAST, links=[link])
    first, last = (layer['spatial_temporal'] for layer in backbone.links)
    assert (first.drop_path_a.rate, last.drop_path_a.rate) == (0, 0.2)
    assert (last.drop_path_a.unit, last.drop_path_b.unit) == (
        'token',
        'sample',
    )
    randomize(backbone)
    imgs = streams()['imgs']
    assert same(backbone(imgs), backbone(imgs))
    backbone.train()
    torch.manual_seed(0)
    assert far(backbone(imgs), backbone(imgs)) > 1e-4


def test_experts_of_different_width_meet():
    wide = dict(VIDEOMAE, arch=dict(ARCH, embed_dims=24))
    backbone = build(CAST, experts=dict(spatial=CLIP, temporal=wide))
    feats = randomize(backbone)(streams()['imgs'])
    assert [f.shape[1] for f in feats.values()] == [16, 24]


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(exchange='random'), "'additive', 'sequential'.*'random'"),
        (dict(missing_inputs='skip'), "'drop', 'raise'.*'skip'"),
        (dict(inputs=dict(spatial='imgs')), 'spatial.*temporal'),
        (
            dict(links=[dict(B_CA, between=['spatial'], axes=['all'])]),
            'two of the',
        ),
        (
            dict(
                links=[
                    dict(
                        B_CA, between=('spatial', 'flow'), axes=('all', 'all')
                    )
                ]
            ),
            'flow',
        ),
        (dict(links=[SPACE_TIME, SPACE_TIME]), 'two links join spatial and'),
        (dict(time_encoders=dict(audios=dict(embed_dims=8))), 'audios.*imgs'),
        (dict(time_encoders=dict(imgs='audios')), "'audios'"),
    ],
)
def test_parts_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        build(CAST, **changes)


def test_unequal_depth_raises_with_the_depths():
    deep = dict(VIDEOMAE, arch=dict(ARCH, num_layers=3))
    with pytest.raises(ValueError, match="'spatial': 2, 'temporal': 3"):
        build(CAST, experts=dict(spatial=CLIP, temporal=deep))


def test_wrong_axes_fail_when_building():
    link = dict(B_CA, between=('spatial', 'audio'), axes=('space', 'all'))
    cfg = dict(
        CAST,
        experts=dict(spatial=CLIP, audio=AST),
        inputs=dict(spatial='imgs', audio='audios'),
        links=[link],
    )
    with pytest.raises(ValueError, match="'space'.*2 and 1"):
        build(cfg)


def test_shared_bottlenecks_of_two_widths_raise():
    links = [SPACE_TIME, dict(SPACE_AUDIO, ratio=0.25)]
    with pytest.raises(ValueError, match='8 and 4'):
        build(CA2ST, links=links, share_bottlenecks=True)


@pytest.mark.parametrize(
    'link, message',
    [
        (
            dict(drop_path_unit=dict(spatail='token')),
            r"\['spatial', 'temporal'\]",
        ),
        (dict(drop_path_unit='token'), 'is a dict by expert'),
        (dict(ratio=0.01), 'ratio 0.01 leaves nothing of the 16 channels'),
    ],
)
def test_misspelt_options_of_a_link_raise(link, message):
    with pytest.raises(ValueError, match=message):
        build(CAST, links=[dict(SPACE_TIME, **link)])


def test_an_unknown_time_encoder_raises():
    encoders = dict(imgs=dict(type='Nonsense', embed_dims=8))
    with pytest.raises(KeyError, match='Nonsense'):
        build(CAST, time_encoders=encoders)
