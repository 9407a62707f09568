# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A state dict is found in its container and recognised by its names."""

import pytest
import torch
from layouts import SHAPES, published

from ca2st_mm.checkpoints import SOURCES, detect_source, unwrap


@pytest.mark.parametrize('name', sorted(SHAPES))
def test_each_layout_is_recognised_as_one_source(name):
    weights = published(name)
    found = [s.name for s in SOURCES.values() if s.matches(weights)]
    assert found == [name]
    assert detect_source(weights) is SOURCES[name]


@pytest.mark.parametrize('name', sorted(SHAPES))
def test_what_we_write_is_our_own(name):
    converted = SOURCES[name].to_ours(published(name)).state_dict
    for front in ('', 'backbone.', 'backbone.experts.spatial.'):
        ours = {front + key: value for key, value in converted.items()}
        source = detect_source(ours)
        assert source.name == 'ca2st_mm'
        again = source.to_ours(ours)
        assert again.ignored == {}
        assert list(again.state_dict) == list(ours)
        assert all(again.state_dict[key] is ours[key] for key in ours)


def test_the_short_names():
    families = ('cast', 'cava', 'ca2st')
    expected = {'ca2st_mm', *SHAPES, *(f'{f}_reference' for f in families)}
    assert set(SOURCES) == expected
    assert all(name == source.name for name, source in SOURCES.items())


def test_an_unknown_layout_is_shown_with_the_known_ones():
    with pytest.raises(ValueError) as error:
        detect_source({'stem.conv.weight': 0, 'a.b': 0})
    text = str(error.value)
    assert "first keys: 'a.b', 'stem.conv.weight'" in text
    assert all(name in text for name in SOURCES)


@pytest.mark.parametrize(
    'stranger',
    [
        # A ResNet of CLIP, a plain image transformer, an image tower of timm.
        ('visual.conv1.weight', 'visual.layer1.0.conv1.weight'),
        (
            'cls_token',
            'patch_embed.proj.weight',
            'blocks.0.attn.qkv.weight',
            'blocks.0.mlp.fc1.weight',
        ),
        ('visual.trunk.patch_embed.proj.weight', 'logit_scale'),
        (),
    ],
)
def test_strangers_are_not_taken_for_relatives(stranger):
    with pytest.raises(ValueError, match='fit no known source'):
        detect_source(dict.fromkeys(stranger, 0))


def test_two_layouts_in_one_file_are_ambiguous():
    both = {**published('clip_hf'), **published('ast_official')}
    with pytest.raises(ValueError, match='clip_hf and ast_official at once'):
        detect_source(both)


def test_a_source_asked_for_by_name_refuses_other_names():
    with pytest.raises(ValueError, match='this is no CLIP of Hugging Face'):
        SOURCES['clip_hf'].to_ours(published('clip_openai'))


WEIGHTS = {'a.weight': torch.zeros(2), 'b': torch.ones(1)}
PARALLEL = {f'module.{key}': value for key, value in WEIGHTS.items()}


@pytest.mark.parametrize(
    'container, how',
    [
        (WEIGHTS, 'the file itself'),
        (dict(model=WEIGHTS, epoch=1), 'model'),
        (dict(module=WEIGHTS, epoch=1), 'module'),
        (dict(state_dict=WEIGHTS, meta={}), 'state_dict'),
        (dict(module={}, model=WEIGHTS), 'model'),
        (dict(model=dict(state_dict=WEIGHTS)), 'model.state_dict'),
        (PARALLEL, "the file itself, without the front 'module.'"),
        (
            dict(state_dict=PARALLEL),
            "state_dict, without the front 'module.'",
        ),
    ],
)
def test_unwrap(container, how):
    state_dict, said = unwrap(container)
    assert said == how
    assert list(state_dict) == list(WEIGHTS)
    assert all(state_dict[key] is WEIGHTS[key] for key in WEIGHTS)


def test_a_front_of_some_names_stays():
    mixed = {'module.a': torch.zeros(1), 'b': torch.zeros(1)}
    assert list(unwrap(mixed).state_dict) == list(mixed)


@pytest.mark.parametrize(
    'container, message',
    [
        (dict(epoch=1, weights=WEIGHTS), "entries are 'epoch', 'weights'"),
        (dict(model=dict(epoch=1)), "under 'model'"),
        ({}, 'entries are none'),
        (dict(WEIGHTS, epoch=1), "'epoch' of type int"),
        ([1, 2], 'of a list'),
    ],
)
def test_a_file_without_weights_says_what_it_holds(container, message):
    with pytest.raises(ValueError, match=message):
        unwrap(container)
