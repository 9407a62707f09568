# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The order of keys in a config, which YAML loses, is no part of a model."""

import copy

import pytest
import tiny_models as tiny
import torch
from mmaction.registry import MODELS
from mmengine.config import Config

from ca2st_mm.structures import as_streams

WIDTHS = dict(temporal=16, spatial=16, audio=16)
TIMED = dict(position='timestamp', start_layer=1)
LINKS = [
    tiny.SPACE_TIME,
    dict(tiny.SPACE_AUDIO, **TIMED),
    dict(tiny.TIME_AUDIO, **TIMED),
]
CA2ST = dict(
    tiny.CA2ST,
    links=LINKS,
    share_bottlenecks=True,
    time_encoders=dict(imgs=dict(embed_dims=8), audios=dict(embed_dims=8)),
)
CAVA = dict(
    CA2ST,
    experts=dict(spatial=tiny.CLIP, audio=tiny.AST),
    inputs=dict(spatial='imgs', audio='audios'),
    links=[dict(tiny.SPACE_AUDIO, position='timestamp')],
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
INPUTS = {
    name: stream.map(lambda part: part[:, None])
    for name, stream in as_streams({**tiny.streams(), **tiny.times()}).items()
}


def config_of(backbone, head=None):
    widths = {n: w for n, w in WIDTHS.items() if n in backbone['experts']}
    plain = dict(type='FusionHead', num_classes=5, in_channels=widths)
    return dict(
        type='MultiExpertRecognizer', backbone=backbone, cls_head=head or plain
    )


CONFIGS = dict(
    cast=config_of(tiny.CAST),
    cava=config_of(CAVA),
    ca2st=config_of(CA2ST),
    ca2st_verbs=config_of(CA2ST, VERBS),
    additive=config_of(dict(CA2ST, exchange='additive')),
)


def backwards(value):
    """The same config with the keys of every dict turned round."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(v) for v in value] if isinstance(value, list) else value


def as_yaml(cfg, tmp_path):
    Config(dict(model=cfg)).dump(tmp_path / 'config.yaml')
    return Config.fromfile(tmp_path / 'config.yaml').model


def logits_of(model):
    with torch.no_grad():
        logits = model(INPUTS, mode='tensor', stage='head')
    return logits if isinstance(logits, dict) else dict(label=logits)


def model_of(cfg):
    return MODELS.build(copy.deepcopy(cfg)).eval()


@pytest.mark.parametrize('change', [backwards, as_yaml])
@pytest.mark.parametrize('name', CONFIGS)
def test_another_order_is_the_same_model(name, change, tmp_path):
    cfg = CONFIGS[name]
    arguments = (cfg, tmp_path) if change is as_yaml else (cfg,)
    other = model_of(change(*arguments))
    model = model_of(cfg)
    # States of optimizers follow the order of the parameters.
    names = [key for key, _ in model.named_parameters()]
    assert [key for key, _ in other.named_parameters()] == names
    tiny.randomize(model)
    other.load_state_dict(model.state_dict(), strict=True)
    found = logits_of(other)
    for task, value in logits_of(model).items():
        assert torch.equal(found[task], value)


def test_fresh_models_are_equal_too(tmp_path):
    models = []
    for cfg in (CONFIGS['ca2st'], as_yaml(CONFIGS['ca2st'], tmp_path)):
        torch.manual_seed(0)
        models.append(model_of(cfg).state_dict())
    for key, value in models[0].items():
        assert torch.equal(models[1][key], value), key


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


@pytest.mark.parametrize('layers', [[0], [1], [1, 0], range(2)])
def test_a_link_is_in_the_layers_that_are_named(layers):
    backbone = model_of(
        dict(tiny.CAST, links=[dict(tiny.SPACE_TIME, layers=layers)])
    )
    found = [i for i, links in enumerate(backbone.links) if len(links)]
    assert found == sorted(layers)


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
        (dict(layers=[0], start_layer=1), 'keep one'),
        (dict(axes='all'), 'are two'),
        (dict(axes=('all',)), 'are two'),
        (dict(axes=(None, None)), 'one of the two'),
        (dict(between=('spatial', 'spatial')), 'two of the experts'),
    ],
)
def test_links_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        model_of(dict(tiny.CAST, links=[dict(tiny.SPACE_TIME, **changes)]))
