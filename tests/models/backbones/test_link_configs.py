# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How links are written; the order of keys, which YAML loses, says nothing."""

import copy

import pytest
import tiny_models as tiny
import torch
from mmaction.registry import MODELS
from mmengine.config import Config

LINKS = [tiny.SPACE_TIME]
LINKS += [dict(link, start_layer=1) for link in tiny.TIMED['links'][1:]]
CA2ST = dict(tiny.TIMED, links=LINKS, share_bottlenecks=True)
CAVA = dict(
    tiny.CAVA, links=[tiny.TIMED['links'][1]], time_encoders=tiny.ENCODERS
)
WIDTHS = dict(temporal=16, spatial=16, audio=16)
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
HEAD = dict(type='FusionHead', num_classes=5)
CAST_HEAD = dict(HEAD, in_channels=dict(temporal=16, spatial=16))
CONFIGS = dict(
    cast=(tiny.CAST, CAST_HEAD),
    cava=(CAVA, dict(HEAD, in_channels=dict(spatial=16, audio=16))),
    ca2st=(CA2ST, dict(HEAD, in_channels=WIDTHS)),
    ca2st_verbs=(CA2ST, VERBS),
    additive=(dict(CA2ST, exchange='additive'), VERBS),
)


def backwards(value, tmp_path=None):
    """The same config with the keys of every dict turned round."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(v) for v in value] if isinstance(value, list) else value


def as_yaml(cfg, tmp_path):
    Config(dict(model=cfg)).dump(tmp_path / 'config.yaml')
    return Config.fromfile(tmp_path / 'config.yaml').model


def model_of(cfg):
    torch.manual_seed(0)
    return MODELS.build(copy.deepcopy(cfg)).eval()


def logits_of(model):
    with torch.no_grad():
        logits = model(tiny.views(), mode='tensor', stage='head')
    return logits if isinstance(logits, dict) else dict(label=logits)


@pytest.mark.parametrize('change', [backwards, as_yaml])
@pytest.mark.parametrize('name', CONFIGS)
def test_another_order_is_the_same_model(name, change, tmp_path):
    backbone, head = CONFIGS[name]
    cfg = dict(type='MultiExpertRecognizer', backbone=backbone, cls_head=head)
    model, other = model_of(cfg), model_of(change(cfg, tmp_path))
    # States of optimizers follow the order of the parameters.
    assert [n for n, _ in model.named_parameters()] == [
        n for n, _ in other.named_parameters()
    ]
    tiny.assert_same(other.state_dict(), model.state_dict(), atol=0, rtol=0)
    tiny.randomize(model)
    other.load_state_dict(model.state_dict(), strict=True)
    tiny.assert_same(logits_of(other), logits_of(model), atol=0, rtol=0)


def as_dict(link, **changes):
    """A link as version 0.1 wrote it."""
    link = dict(link, **changes)
    names = link.pop('between')
    link['axes'] = dict(zip(names, link['axes'], strict=True))
    return link


def test_axes_as_a_dict_are_taken_with_a_warning():
    old = dict(CA2ST, links=[as_dict(link) for link in LINKS])
    with pytest.warns(DeprecationWarning, match=r"between=\('spatial', 'aud"):
        model = model_of(old)
    assert model.state_dict().keys() == model_of(CA2ST).state_dict().keys()
    assert model.pairs == model_of(CA2ST).pairs


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_axes_as_a_dict_with_between_have_an_order():
    sorted_keys = dict(axes=dict(audio='all', spatial='all'))
    link = dict(tiny.SPACE_AUDIO, **sorted_keys)
    model = model_of(dict(CAVA, links=[dict(sorted(link.items()))]))
    assert model.pairs[0] == [('spatial_audio', 'spatial', 'audio')]


@pytest.mark.parametrize('link', LINKS)
def test_axes_as_a_dict_that_lost_its_order_are_refused(link, tmp_path):
    cfg = as_yaml(dict(CA2ST, links=[as_dict(link)]), tmp_path)
    with pytest.raises(ValueError, match='sorted keys.*give between='):
        model_of(cfg)


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
    link = dict(tiny.SPACE_TIME, **where)
    before = repr(link)
    backbone = model_of(dict(tiny.CAST, links=[link]))
    found = [i for i, links in enumerate(backbone.links) if len(links)]
    assert found == layers
    assert repr(link) == before


def test_links_of_a_pair_may_differ_by_layer():
    early = dict(tiny.SPACE_TIME, layers=[0])
    late = dict(tiny.SPACE_TIME, layers=[1], axes=('all', None))
    backbone = model_of(dict(tiny.CAST, links=[early, late]))
    axes = [links['spatial_temporal'].axes for links in backbone.links]
    assert axes == [('time', 'space'), ('all', None)]


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(layers=[2]), r'layers \[2\].*0 to 1'),
        (dict(layers=[]), r'layers \[\].*0 to 1'),
        (dict(start_layer=2), 'start_layer 2.*0 to 1'),
        (dict(layers=[0], start_layer=1), 'keep one'),
        (dict(axes='all'), 'are two'),
        (dict(axes=('all',)), 'are two'),
        (dict(axes=(None, None)), 'one of the two'),
        (dict(between=('spatial', 'spatial')), 'two of the experts'),
        (dict(between=('spatial',)), 'two of the experts'),
        (dict(between=('spatial', 'flow')), 'flow'),
        (
            dict(drop_path_unit=dict(spatail='token')),
            r"\['spatial', 'temporal'\]",
        ),
        (dict(drop_path_unit='token'), 'is a dict by expert'),
        (dict(ratio=0.01), 'ratio 0.01 leaves nothing of the 16 channels'),
    ],
)
def test_links_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        model_of(dict(tiny.CAST, links=[dict(tiny.SPACE_TIME, **changes)]))
