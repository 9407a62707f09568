# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Exchange of any experts, set in a config whose order of keys is nothing."""

import copy

import pytest
import tiny_models as tiny
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from torch import nn

from ca2st_mm.models.layers import TokenSpec
from ca2st_mm.structures import Stream

EXCHANGES = pytest.mark.parametrize('exchange', ['sequential', 'additive'])
WIDTHS = dict(temporal=16, spatial=16, audio=16)
HEAD = dict(type='FusionHead', num_classes=7, in_channels=WIDTHS)


def far(feats, others):
    return max(tiny.difference(feats[name], others[name]) for name in feats)


@EXCHANGES
@pytest.mark.parametrize('cfg', [tiny.CA2ST, tiny.TIMED])
def test_at_init_it_equals_each_expert_alone(cfg, exchange):
    backbone = tiny.build(cfg, exchange=exchange)
    inputs = tiny.timed()
    feats = backbone(**inputs)
    for name, expert in backbone.experts.items():
        assert torch.equal(feats[name], expert(inputs[backbone.inputs[name]]))


@EXCHANGES
def test_order_of_links_matters_when_sequential_only(exchange):
    backbone = tiny.noisy(tiny.CA2ST, exchange=exchange)
    links = tiny.CA2ST['links'][::-1]
    reverse = tiny.build(tiny.CA2ST, links=links, exchange=exchange)
    reverse.load_state_dict(backbone.state_dict())
    change = far(reverse(**tiny.streams()), backbone(**tiny.streams()))
    assert change > 1e-3 if exchange == 'sequential' else change < 1e-5


def test_additive_is_the_mean_of_the_updates():
    backbone = tiny.noisy(tiny.CA2ST, exchange='additive')
    inputs, experts = tiny.streams(), backbone.experts
    s, t, a = (
        experts[name].forward_attn(
            experts[name].embed(inputs[backbone.inputs[name]]), 0
        )
        for name in ('spatial', 'temporal', 'audio')
    )
    st, sa, ta = (backbone.links[0][key] for key, _, _ in backbone.pairs[0])
    expected = dict(
        spatial=s + (st(s, t)[0] + sa(s, a)[0]) / 2,
        temporal=t + (st(s, t)[1] + ta(t, a)[0]) / 2,
        audio=a + (sa(s, a)[1] + ta(t, a)[1]) / 2,
    )
    found = backbone(**inputs, return_tokens=[0]).tokens
    for name, tokens in expected.items():
        tokens = experts[name].forward_ffn(tokens, 0)
        torch.testing.assert_close(found[name, 0], tokens)


@pytest.mark.parametrize('share', [True, False])
def test_shared_bottlenecks_are_one_object_in_a_copy_too(share):
    backbone = tiny.noisy(tiny.CA2ST, share_bottlenecks=share)
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
    feats = backbone(**tiny.streams())
    tiny.assert_same(other(**tiny.streams()), feats, atol=0, rtol=0)


def test_state_dict_keys_are_those_of_lone_experts_plus_links():
    backbone = tiny.build(tiny.TIMED)
    keys = set(backbone.state_dict())
    expected = {
        f'experts.{name}.{key}'
        for name in backbone.experts
        for key in tiny.build(tiny.CA2ST['experts'][name]).state_dict()
    }
    assert expected <= keys
    names = ('spatial_temporal', 'spatial_audio', 'temporal_audio')
    assert {'.'.join(key.split('.')[:3]) for key in keys - expected} == {
        *(f'links.{i}.{n}' for i in range(tiny.DEPTH) for n in names),
        *(
            f'time_encoders.{stream}.{part}'
            for stream in ('imgs', 'audios')
            for part in ('mlp', 'norm')
        ),
    }


def test_only_what_is_frozen_gets_no_gradient():
    backbone = tiny.noisy(tiny.TIMED).train()
    feats = backbone(**tiny.timed())
    sum(feat.square().sum() for feat in feats.values()).backward()
    for key, parameter in backbone.named_parameters():
        is_expert = key.startswith('experts.')
        is_norm = key.split('.')[2] == 'norm' and 'audio' not in key
        expected = not is_expert or '.adapter.' in key or is_norm
        assert parameter.requires_grad == expected, key
        assert (parameter.grad is not None) == expected, key


def test_times_matter_and_streams_may_share_an_encoder():
    backbone = tiny.noisy(tiny.TIMED)
    feats = backbone(**tiny.timed())
    assert far(backbone(**tiny.timed(later=1)), feats) > 1e-4
    encoders = dict(tiny.ENCODERS, audios='imgs')
    one = tiny.build(tiny.TIMED, time_encoders=encoders)
    assert list(one.time_encoders) == ['imgs']
    one(**tiny.timed())
    with pytest.raises(KeyError, match="times of the stream 'imgs'"):
        backbone(**tiny.streams())


def test_drop_path_grows_over_the_layers_and_has_a_unit_per_expert():
    link = dict(tiny.SPACE_TIME, drop_path_rate=0.2)
    link['drop_path_unit'] = dict(spatial='token')
    backbone = tiny.noisy(tiny.CAST, links=[link])
    first, last = (layer['spatial_temporal'] for layer in backbone.links)
    assert (first.drop_path_a.rate, last.drop_path_a.rate) == (0, 0.2)
    units = (last.drop_path_a.unit, last.drop_path_b.unit)
    assert units == ('token', 'sample')
    imgs = tiny.video()
    tiny.assert_same(backbone(imgs), backbone(imgs), atol=0, rtol=0)
    backbone.train()
    assert far(backbone(imgs), backbone(imgs)) > 1e-4


def space_time(**changes):
    return dict(links=[dict(tiny.SPACE_TIME, **changes)])


DEEP = dict(tiny.VIDEOMAE, arch=dict(tiny.ARCH, num_layers=3))


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(exchange='random'), "'additive', 'sequential'.*'random'"),
        (dict(inputs=dict(spatial='imgs')), 'spatial.*temporal'),
        (dict(links=2 * [tiny.SPACE_TIME]), 'two links join spatial and'),
        (dict(time_encoders=dict(flows=dict(embed_dims=8))), 'flows.*imgs'),
        (dict(time_encoders=dict(imgs='audios')), "'audios'"),
        (
            dict(experts=dict(tiny.CA2ST['experts'], temporal=DEEP)),
            "'spatial': 2, 'temporal': 3",
        ),
        (space_time(layers=[2]), r'layers \[2\].*0 to 1'),
        (space_time(start_layer=2), 'start_layer 2.*0 to 1'),
        (space_time(layers=[0], start_layer=1), 'keep one'),
        (space_time(axes='all'), 'are two'),
        (space_time(axes=(None, None)), 'None for one that does not'),
        (space_time(between=('spatial', 'spatial')), 'two of the experts'),
        (space_time(between=('spatial', 'flow')), 'flow'),
        (
            space_time(drop_path_unit=dict(spatail='token')),
            r"\['spatial', 'temporal'\]",
        ),
        (space_time(drop_path_unit='token'), 'is a dict by expert'),
        (space_time(ratio=0.01), 'ratio 0.01 leaves nothing of the 16'),
    ],
)
def test_parts_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny.build(tiny.CA2ST, **changes)


# -- links in a config --------------------------------------------------------

LINKS = [tiny.SPACE_TIME]
LINKS += [dict(link, start_layer=1) for link in tiny.TIMED['links'][1:]]
LATE = dict(tiny.TIMED, links=LINKS, share_bottlenecks=True)
CAVA = dict(
    tiny.CAVA, links=[tiny.TIMED['links'][1]], time_encoders=tiny.ENCODERS
)
RESIDUAL = dict(type='ResidualAdapter')
VERBS = dict(
    type='VerbNounHead',
    num_verbs=3,
    num_nouns=4,
    fusions=dict(
        verb=dict(in_channels=WIDTHS, adapters=dict(temporal=RESIDUAL)),
        noun=dict(in_channels=WIDTHS),
    ),
)
CONFIGS = dict(
    cast=(tiny.CAST, dict(HEAD, in_channels=dict(temporal=16, spatial=16))),
    cava=(CAVA, dict(HEAD, in_channels=dict(spatial=16, audio=16))),
    ca2st=(LATE, HEAD),
    additive=(dict(LATE, exchange='additive'), VERBS),
)


def backwards(value, tmp_path=None):
    """The same config with the keys of every dict turned round."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(v) for v in value] if isinstance(value, list) else value


def as_yaml(cfg, tmp_path):
    Config(dict(model=cfg)).dump(tmp_path / 'config.yaml')
    return Config.fromfile(tmp_path / 'config.yaml').model


def seeded(cfg):
    torch.manual_seed(0)
    return tiny.build(cfg)


@pytest.mark.parametrize('change', [backwards, as_yaml])
@pytest.mark.parametrize('name', CONFIGS)
def test_another_order_of_keys_is_the_same_model(name, change, tmp_path):
    backbone, head = CONFIGS[name]
    cfg = dict(type='MultiExpertRecognizer', backbone=backbone, cls_head=head)
    model, other = seeded(cfg), seeded(change(cfg, tmp_path))
    # States of optimizers follow the order of the parameters.
    assert [n for n, _ in model.named_parameters()] == [
        n for n, _ in other.named_parameters()
    ]
    tiny.assert_same(other.state_dict(), model.state_dict(), atol=0, rtol=0)
    tiny.randomize(model)
    other.load_state_dict(model.state_dict(), strict=True)
    found, expected = (
        m(tiny.views(), mode='tensor', stage='head') for m in (other, model)
    )
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def as_dict(link):
    """A link as version 0.1 wrote it."""
    link = dict(link)
    names = link.pop('between')
    return dict(link, axes=dict(zip(names, link['axes'], strict=True)))


def test_axes_as_a_dict_are_taken_with_a_warning():
    old = dict(LATE, links=[as_dict(link) for link in LINKS])
    with pytest.warns(DeprecationWarning, match=r"between=\('spatial', 'aud"):
        model = tiny.build(old)
    expected = tiny.build(LATE)
    assert model.state_dict().keys() == expected.state_dict().keys()
    assert model.pairs == expected.pairs


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_axes_as_a_dict_with_between_have_an_order():
    sorted_keys = dict(axes=dict(audio='all', spatial='all'))
    link = dict(tiny.SPACE_AUDIO, **sorted_keys)
    model = tiny.build(dict(CAVA, links=[dict(sorted(link.items()))]))
    assert model.pairs[0] == [('spatial_audio', 'spatial', 'audio')]


@pytest.mark.parametrize('link', LINKS)
def test_axes_as_a_dict_that_lost_its_order_are_refused(link, tmp_path):
    cfg = as_yaml(dict(LATE, links=[as_dict(link)]), tmp_path)
    with pytest.raises(ValueError, match='sorted keys.*give between='):
        tiny.build(cfg)


@pytest.mark.parametrize(
    'where, layers',
    [
        (dict(layers=[0]), [0]),
        (dict(layers=[1, 0]), [0, 1]),
        (dict(layers=range(2)), [0, 1]),
        (dict(start_layer=1), [1]),
        ({}, [0, 1]),
    ],
)
def test_a_link_is_in_the_layers_that_are_named(where, layers):
    backbone = tiny.build(tiny.CAST, **space_time(**where))
    found = [i for i, links in enumerate(backbone.links) if len(links)]
    assert found == layers


def test_links_of_a_pair_may_differ_by_layer():
    early = dict(tiny.SPACE_TIME, layers=[0])
    late = dict(tiny.SPACE_TIME, layers=[1], axes=('all', None))
    backbone = tiny.build(tiny.CAST, links=[early, late])
    axes = [links['spatial_temporal'].axes for links in backbone.links]
    assert axes == [('time', 'space'), ('all', None)]


# -- clips without audio, for the whole batch or sample by sample -------------


def with_missing(exchange):
    drop = dict(exchange=exchange, missing_inputs='drop')
    return tiny.noisy(tiny.CA2ST, **drop)


@EXCHANGES
@pytest.mark.parametrize('reduction', ['sum', 'mean'])
def test_presence_drops_sample_by_sample(exchange, reduction):
    backbone = with_missing(exchange)
    head = tiny.noisy(HEAD, reduction=reduction)
    present = torch.tensor([1.0, 0.0, 1.0])
    imgs, audios = tiny.streams().values()
    logits = head(backbone(imgs, audios=Stream(audios, present=present)))
    whole = head(backbone(imgs, audios=audios))
    without = head(backbone(imgs))
    expected = torch.stack((whole[0], without[1], whole[2]))
    assert tiny.difference(logits, expected) < 1e-5
    assert tiny.difference(whole[1], without[1]) > 1e-3
    audios[1] += 5  # what an absent sample holds does not matter
    after = head(backbone(imgs, audios=Stream(audios, present=present)))
    assert tiny.difference(after, logits) < 1e-6


@EXCHANGES
def test_drop_equals_a_model_without_that_expert(exchange):
    backbone = with_missing(exchange)
    without = tiny.build(tiny.CAST, exchange=exchange)
    state, own = backbone.state_dict(), without.state_dict()
    without.load_state_dict({key: state[key] for key in own})
    imgs, audios = tiny.streams().values()
    chosen = backbone(imgs, audios=audios, experts=['spatial', 'temporal'])
    for found in (backbone(imgs), chosen):
        tiny.assert_same(found, without(imgs), atol=0, rtol=0)
    alone = dict(audio=backbone.experts['audio'](audios))  # without frames
    tiny.assert_same(backbone(audios=audios), alone, atol=0, rtol=0)


def test_a_missing_input_is_named():
    imgs = tiny.video()
    message = "'audio': 'audios'.*missing_inputs='drop'"
    with pytest.raises(KeyError, match=message):
        tiny.build(tiny.CA2ST)(imgs)
    with pytest.raises(KeyError, match='no expert has an input'):
        tiny.build(tiny.CA2ST, missing_inputs='drop')(flows=imgs)


# -- new experts and new mixtures, by config alone ----------------------------


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


def experts(**changes):
    return dict(experts={**tiny.CAST['experts'], **changes})


def link_of(*between, axes=('all', 'all')):
    return dict(tiny.B_CA, between=between, axes=axes)


FINE = dict(tiny.AST, arch=dict(tiny.ARCH, patch_stride=5))
MIXTURES = dict(
    fourth=dict(
        experts=dict(tiny.CA2ST['experts'], flow=dict(type='FlowExpert')),
        inputs=dict(tiny.CA2ST['inputs'], flow='flows'),
        links=[
            *tiny.CA2ST['links'],
            link_of('temporal', 'flow', axes=('space', 'time')),
        ],
    ),
    mmaction=experts(temporal=tiny.MMACTION),
    mmpretrain=experts(temporal=tiny.MMPRETRAIN),
    both=experts(spatial=tiny.MMPRETRAIN, temporal=tiny.MMACTION),
    two_audio_experts=dict(
        experts=dict(spatial=tiny.CLIP, audio=tiny.AST, detail=FINE),
        inputs=dict(spatial='imgs', audio='audios', detail='audios'),
        links=[tiny.SPACE_AUDIO, link_of('audio', 'detail')],
    ),
    two_audio_streams=dict(
        experts=dict(near=tiny.AST, far=tiny.AST),
        inputs=dict(near='audios', far='far_audios'),
        links=[link_of('near', 'far', axes=('space', 'all'))],
    ),
    one_expert=dict(
        experts=dict(audio=tiny.AST), inputs=dict(audio='audios'), links=[]
    ),
)


@pytest.mark.parametrize('name', MIXTURES)
def test_any_mixture_learns(name, monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, 'FlowExpert', FlowExpert)
    backbone = dict(tiny.CAST, **MIXTURES[name])
    model = tiny.randomize(tiny.recognizer(backbone), 0.1)
    values = dict(
        tiny.streams(),
        flows=torch.randn(3, 2, 4, 5),
        far_audios=tiny.audio(seed=2),
    )
    used = set(model.backbone.inputs.values())
    inputs = {k: value[:, None] for k, value in values.items() if k in used}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.01)
    losses = []
    for _ in range(6):
        loss = model(inputs, tiny.samples([0, 1, 2]), mode='loss')['loss_cls']
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
