# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Exchange of any experts, and a state dict that stays readable."""

import copy

import pytest
import torch
from mmaction.registry import MODELS
from tiny_models import (
    ARCH,
    AST,
    B_CA,
    CA2ST,
    CAST,
    CLIP,
    DEPTH,
    ENCODERS,
    MMACTION,
    MMPRETRAIN,
    SPACE_AUDIO,
    SPACE_TIME,
    TIMED,
    VIDEOMAE,
    assert_same,
    audio,
    build,
    difference,
    randomize,
    recognizer,
    samples,
    streams,
    times,
)
from torch import nn

from ca2st_mm.models.backbones.multi_expert import exchange_additively
from ca2st_mm.models.layers import TokenSpec

EXCHANGES = pytest.mark.parametrize('exchange', ['sequential', 'additive'])
HEAD = dict(
    type='FusionHead',
    num_classes=7,
    in_channels=dict(spatial=16, temporal=16, audio=16),
)


def far(feats, others):
    return max(difference(feats[name], others[name]) for name in feats)


@EXCHANGES
@pytest.mark.parametrize('cfg', [CA2ST, TIMED])
def test_at_init_it_equals_each_expert_alone(cfg, exchange):
    backbone = build(cfg, exchange=exchange)
    inputs = {**streams(), **times()}
    feats = backbone(**inputs)
    for name, expert in backbone.experts.items():
        alone = expert(inputs[backbone.inputs[name]])
        assert difference(feats[name], alone) == 0


@EXCHANGES
def test_order_of_links_matters_when_sequential_only(exchange):
    backbone = randomize(build(CA2ST, exchange=exchange))
    links = CA2ST['links'][::-1]
    reverse = build(CA2ST, links=links, exchange=exchange)
    reverse.load_state_dict(backbone.state_dict())
    change = far(reverse(**streams()), backbone(**streams()))
    assert change > 1e-3 if exchange == 'sequential' else change < 1e-5


def test_additive_is_the_mean_of_the_updates():
    backbone = randomize(build(CA2ST, exchange='additive'))
    inputs = streams()
    tokens = {
        name: expert.forward_attn(
            expert.embed(inputs[backbone.inputs[name]]), 0
        )
        for name, expert in backbone.experts.items()
    }
    links = {(a, b): backbone.links[0][key] for key, a, b in backbone.pairs[0]}
    out = exchange_additively(tokens, links, {}, {})
    s, t, a = (tokens[name] for name in ('spatial', 'temporal', 'audio'))
    st, sa, ta = links.values()
    expected = dict(
        spatial=s + (st(s, t)[0] + sa(s, a)[0]) / 2,
        temporal=t + (st(s, t)[1] + ta(t, a)[0]) / 2,
        audio=a + (sa(s, a)[1] + ta(t, a)[1]) / 2,
    )
    assert_same(out, expected)


@pytest.mark.parametrize('share', [True, False])
def test_shared_bottlenecks_are_one_object_in_a_copy_too(share):
    backbone = randomize(build(CA2ST, share_bottlenecks=share))
    other = copy.deepcopy(backbone)
    for layer in [*backbone.links, *other.links]:
        st, sa, ta = layer.values()
        assert (st.bottleneck_a is sa.bottleneck_a) == share
        assert (st.bottleneck_b is ta.bottleneck_a) == share
        assert (sa.bottleneck_b is ta.bottleneck_b) == share
        assert st.norm_a is not sa.norm_a
    parts = [*backbone.links, other]
    owned = [{id(p) for p in part.parameters()} for part in parts]
    assert sum(map(len, owned)) == len(set().union(*owned))
    assert_same(other(**streams()), backbone(**streams()), atol=0, rtol=0)


def test_state_dict_keys_are_those_of_lone_experts_plus_links():
    backbone = build(TIMED)
    keys = set(backbone.state_dict())
    expected = {
        f'experts.{name}.{key}'
        for name in backbone.experts
        for key in build(CA2ST['experts'][name]).state_dict()
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
    one = build(TIMED, time_encoders=dict(ENCODERS, audios='imgs'))
    assert list(one.time_encoders) == ['imgs']
    one(**streams(), **clocks)
    with pytest.raises(KeyError, match="times of the stream 'imgs'"):
        backbone(**streams())


def test_drop_path_grows_over_the_layers_and_has_a_unit_per_expert():
    link = dict(
        SPACE_TIME, drop_path_rate=0.2, drop_path_unit=dict(spatial='token')
    )
    backbone = randomize(build(CAST, links=[link]))
    first, last = (layer['spatial_temporal'] for layer in backbone.links)
    assert (first.drop_path_a.rate, last.drop_path_a.rate) == (0, 0.2)
    units = (last.drop_path_a.unit, last.drop_path_b.unit)
    assert units == ('token', 'sample')
    imgs = streams()['imgs']
    assert_same(backbone(imgs), backbone(imgs), atol=0, rtol=0)
    backbone.train()
    assert far(backbone(imgs), backbone(imgs)) > 1e-4


DEEP = dict(VIDEOMAE, arch=dict(ARCH, num_layers=3))
ACROSS = dict(B_CA, between=('spatial', 'audio'), axes=('space', 'all'))


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(exchange='random'), "'additive', 'sequential'.*'random'"),
        (dict(missing_inputs='skip'), "'drop', 'raise'.*'skip'"),
        (dict(activations='half'), "'recompute', 'store'.*'half'"),
        (dict(frozen_dtype='half'), "'bfloat16'.*'half'"),
        (dict(inputs=dict(spatial='imgs')), 'spatial.*temporal'),
        (dict(links=[SPACE_TIME, SPACE_TIME]), 'two links join spatial and'),
        (dict(links=[ACROSS]), "'space'.*2 and 1"),
        (
            dict(
                links=[SPACE_TIME, dict(SPACE_AUDIO, ratio=0.25)],
                share_bottlenecks=True,
            ),
            '8 and 4',
        ),
        (dict(time_encoders=dict(flows=dict(embed_dims=8))), 'flows.*imgs'),
        (dict(time_encoders=dict(imgs='audios')), "'audios'"),
        (
            dict(experts=dict(CA2ST['experts'], temporal=DEEP)),
            "'spatial': 2, 'temporal': 3",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        build(CA2ST, **changes)


# -- clips without audio, for the whole batch or sample by sample ------------


def with_missing(exchange):
    backbone = build(CA2ST, exchange=exchange, missing_inputs='drop')
    return randomize(backbone)


@EXCHANGES
def test_drop_equals_a_model_without_that_expert(exchange):
    backbone = with_missing(exchange)
    without = build(CAST, exchange=exchange)
    state, own = backbone.state_dict(), without.state_dict()
    without.load_state_dict({key: state[key] for key in own})
    imgs, audios = streams().values()
    assert_same(backbone(imgs), without(imgs), atol=0, rtol=0)
    feats = backbone(audios=audios)  # or without frames
    assert set(feats) == {'audio'}
    assert torch.equal(feats['audio'], backbone.experts['audio'](audios))


@EXCHANGES
@pytest.mark.parametrize('reduction', ['sum', 'mean'])
def test_presence_drops_sample_by_sample(exchange, reduction):
    backbone = with_missing(exchange)
    head = randomize(build(HEAD, reduction=reduction))
    inputs, present = streams(), torch.tensor([1.0, 0.0, 1.0])
    logits = head(backbone(**inputs, audios_present=present))
    whole = head(backbone(**inputs))
    without = head(backbone(inputs['imgs']))
    expected = torch.stack((whole[0], without[1], whole[2]))
    assert difference(logits, expected) < 1e-5
    assert difference(whole[1], without[1]) > 1e-3
    inputs['audios'][1] += 5  # what an absent sample holds does not matter
    after = head(backbone(**inputs, audios_present=present))
    assert difference(after, logits) < 1e-6


@EXCHANGES
def test_present_everywhere_is_the_normal_case(exchange):
    backbone = with_missing(exchange)
    found = backbone(**streams(), audios_present=torch.ones(3))
    assert torch.equal(found.pop('audio_present'), torch.ones(3, 1))
    assert_same(found, backbone(**streams()))


def test_a_missing_input_is_named():
    imgs = streams()['imgs']
    message = "'audio': 'audios'.*missing_inputs='drop'"
    with pytest.raises(KeyError, match=message):
        build(CA2ST)(imgs)
    with pytest.raises(KeyError, match='no expert has an input'):
        build(CA2ST, missing_inputs='drop')(flows=imgs)


# -- new experts and new mixtures, by config alone ---------------------------


class FlowExpert(nn.Module):
    """A fourth expert: one class that needs nothing of ours."""

    num_layers = 2
    token_spec = TokenSpec(16, 2, 4)

    def __init__(self):
        super().__init__()
        self.to_tokens = nn.Linear(5, 16)
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))

    def embed(self, inputs):
        return self.to_tokens(inputs)

    def forward_attn(self, tokens, layer):
        return tokens + self.layers[2 * layer](tokens.roll(1, 2))

    def forward_ffn(self, tokens, layer):
        return tokens + self.layers[2 * layer + 1](tokens).relu()

    def pool(self, tokens):
        return tokens.mean((1, 2))


@pytest.fixture
def flow_expert(monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, 'FlowExpert', FlowExpert)


FLOW = dict(
    experts=dict(CA2ST['experts'], flow=dict(type='FlowExpert')),
    inputs=dict(CA2ST['inputs'], flow='flows'),
    links=[
        *CA2ST['links'],
        dict(B_CA, between=('temporal', 'flow'), axes=('space', 'time')),
    ],
)
FINE = dict(AST, arch=dict(ARCH, patch_stride=5))
TWO_AUDIO_EXPERTS = dict(
    experts=dict(spatial=CLIP, audio=AST, detail=FINE),
    inputs=dict(spatial='imgs', audio='audios', detail='audios'),
    links=[
        SPACE_AUDIO,
        dict(B_CA, between=('audio', 'detail'), axes=('all', 'all')),
    ],
)
TWO_AUDIO_STREAMS = dict(
    experts=dict(near=AST, far=AST),
    inputs=dict(near='audios', far='far_audios'),
    links=[dict(B_CA, between=('near', 'far'), axes=('space', 'all'))],
)
ONE_EXPERT = dict(
    experts=dict(audio=AST), inputs=dict(audio='audios'), links=[]
)


@pytest.mark.parametrize(
    'changes',
    [
        FLOW,
        dict(experts=dict(spatial=CLIP, temporal=MMACTION)),
        dict(experts=dict(spatial=CLIP, temporal=MMPRETRAIN)),
        dict(experts=dict(spatial=MMPRETRAIN, temporal=MMACTION)),
        TWO_AUDIO_EXPERTS,
        TWO_AUDIO_STREAMS,
        ONE_EXPERT,
    ],
    ids=[
        'fourth',
        'clip-mmaction',
        'clip-mmpretrain',
        'mmpretrain-mmaction',
        'two-audio-experts',
        'two-audio-streams',
        'one-expert',
    ],
)
def test_any_mixture_learns(changes, flow_expert):
    model = randomize(recognizer(dict(CAST, **changes)), 0.1)
    values = dict(
        streams(), flows=torch.randn(3, 2, 4, 5), far_audios=audio(seed=2)
    )
    used = set(model.backbone.inputs.values())
    inputs = {k: value[:, None] for k, value in values.items() if k in used}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.01)
    losses = []
    for _ in range(6):
        loss = model(inputs, samples([0, 1, 2]), mode='loss')['loss_cls']
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]


def test_a_fourth_expert_reaches_the_others(flow_expert):
    inputs = dict(streams(), flows=torch.randn(3, 2, 4, 5))
    backbone = randomize(build(dict(CAST, **FLOW)))
    before = backbone(**inputs)
    after = backbone(**dict(inputs, flows=torch.randn(3, 2, 4, 5)))
    assert difference(before['temporal'], after['temporal']) > 1e-4


def test_experts_of_different_width_meet():
    wide = dict(VIDEOMAE, arch=dict(ARCH, embed_dims=24))
    backbone = build(CAST, experts=dict(spatial=CLIP, temporal=wide))
    feats = randomize(backbone)(streams()['imgs'])
    assert [f.shape[1] for f in feats.values()] == [16, 24]
