# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Experts load files of any known layout directly, or say why not."""

import logging

import pytest
import torch
from layouts import ARCH, EXPERTS, NAMES, published
from mmaction.registry import MODELS
from mmengine.logging import MMLogger
from safetensors.torch import save_file

from ca2st_mm.checkpoints import SOURCES, to_reference
from ca2st_mm.checkpoints.reference import Layout


def load(model, path, **init_cfg):
    init_cfg = dict(type='Pretrained', checkpoint=str(path), **init_cfg)
    expert = MODELS.build(dict(EXPERTS[model], init_cfg=init_cfg))
    expert.init_weights()
    return expert


def saved(container, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(container, path)
    return path


def require_held(expert, state_dict):
    own = expert.state_dict()
    for key, value in state_dict.items():
        assert torch.equal(own[key], value), key


@pytest.fixture
def log():
    """What the current logger says."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.mark.parametrize('source', NAMES)
def test_every_published_layout(source, tmp_path, log):
    model = SOURCES[source].model
    weights = published(source)
    path = saved(dict(module=weights, epoch=1), tmp_path)
    expert = load(model, path)
    conversion = SOURCES[source].to_ours(weights)
    require_held(expert, conversion.state_dict)
    said = '\n'.join(log)
    assert f'({source}) in module' in said
    for why, keys in conversion.reasons().items():
        assert f'ignored {len(keys)}: {why}' in said


def test_a_prefix_inside_the_file_comes_first(tmp_path, log):
    weights = published('videomae_mmaction')
    other = {'other.weight': torch.zeros(1)}
    mine = {f'my.student.{key}': value for key, value in weights.items()}
    path = tmp_path / 'weights.safetensors'
    save_file({**mine, **other}, path)
    expected = SOURCES['videomae_mmaction'].to_ours(weights).state_dict
    for prefix in ('my.student', 'my.student.'):
        require_held(load('videomae', path, prefix=prefix), expected)
    assert "ignored 1: outside of 'my.student.'" in log[-1]


def authors_cast():
    """A CAST checkpoint of the authors, written from experts of ours."""
    ours = {}
    for name, model in dict(spatial='clip', temporal='videomae').items():
        expert = MODELS.build(EXPERTS[model])
        for key, value in expert.state_dict().items():
            if not key.endswith('qkv.bias'):
                value = torch.randn_like(value)
            ours[f'backbone.experts.{name}.{key}'] = value
    return ours, to_reference(ours, Layout('cast', 'composition'))


@pytest.mark.parametrize('half', [False, True])
def test_an_expert_of_the_authors_cast(half, tmp_path):
    ours, theirs = authors_cast()
    if half:
        ours = {key: value.half().float() for key, value in ours.items()}
        theirs = {key: value.half() for key, value in theirs.items()}
    path = saved(dict(module=theirs), tmp_path)
    for name, model in dict(spatial='clip', temporal='videomae').items():
        front = f'backbone.experts.{name}.'
        expert = load(model, path, prefix=front)
        mine = {
            key.removeprefix(front): value
            for key, value in ours.items()
            if key.startswith(front)
        }
        assert set(mine) == set(expert.state_dict())
        require_held(expert, mine)


def changed(source, key, change):
    weights = published(source)
    weights[key] = change(weights[key])
    return weights


def swapped():
    weights = published('clip_openai')
    mlp = 'visual.transformer.resblocks.1.mlp'
    a, b = f'{mlp}.c_fc.weight', f'{mlp}.c_proj.weight'
    return {**weights, a: weights[b], b: weights[a]}


@pytest.mark.parametrize(
    'model, container, prefix, words',
    [
        (
            'clip',
            lambda: published('ast_hf'),
            None,
            ['it holds AST of Hu', 'ast_hf'],
        ),
        # A whole model needs a prefix, and one that is there.
        (
            'clip',
            lambda: authors_cast()[1],
            None,
            ['prefix', 'backbone.experts.'],
        ),
        (
            'clip',
            lambda: published('clip_hf'),
            'student',
            ["prefix 'student.'"],
        ),
        (
            'ast',
            lambda: dict(epoch=1, lr=0.1),
            None,
            ["entries are 'epoch', 'lr'"],
        ),
        (
            'clip',
            swapped,
            None,
            ['layers.1.ffn.fc1.weight', '(4, 6) instead of (6, 4)'],
        ),
        (
            'ast',
            lambda: changed(
                'ast_official', 'v.blocks.2.attn.qkv.weight', torch.t
            ),
            None,
            ['layers.2.attention.attn.qkv.weight'],
        ),
        (
            'clip',
            lambda: changed(
                'clip_openai', 'visual.conv1.weight', lambda x: x / 0
            ),
            None,
            ["'patch_embed.weight' holds NaN"],
        ),
    ],
    ids='expert whole prefix nothing swapped transposed infinite'.split(),
)
def test_what_does_not_fit_is_named(model, container, prefix, words, tmp_path):
    with pytest.raises(ValueError) as error:
        load(model, saved(container(), tmp_path), prefix=prefix)
    text = str(error.value)
    assert '\n' not in text
    assert f'is not a checkpoint of this {EXPERTS[model]["type"]}: ' in text
    assert all(word in text for word in words)


def test_an_openclip_activation_can_be_chosen(tmp_path):
    arch = dict(ARCH, activation='gelu')
    frames = torch.randn(1, 3, 2, 32, 32)
    path = saved(published('clip_openai'), tmp_path)
    quick = load('clip', path).eval()
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    exact = MODELS.build(
        dict(EXPERTS['clip'], arch=arch, init_cfg=init_cfg)
    ).eval()
    exact.init_weights()
    assert isinstance(exact.layers[0].ffn.act, torch.nn.GELU)
    assert not torch.equal(quick(frames), exact(frames))
