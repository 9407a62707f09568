# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Experts load files of any known layout directly, or say why not."""

import logging

import pytest
import torch
from layouts import ARCH, EXPERTS, NAMES, published
from mmaction.registry import MODELS
from mmengine.logging import MMLogger
from safetensors.torch import save_file

from ca2st_mm.checkpoints import LAYOUTS, to_reference


def load(model, path, prefix=None, **changes):
    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix=prefix)
    expert = MODELS.build(dict(EXPERTS[model], init_cfg=init_cfg, **changes))
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


@pytest.mark.parametrize('name', NAMES)
def test_every_published_layout(name, tmp_path, log):
    weights = published(name)
    path = saved(dict(module=weights, epoch=1), tmp_path)
    expert = load(LAYOUTS[name].model, path)
    conversion = LAYOUTS[name].convert(weights)
    require_held(expert, conversion.state_dict)
    said = '\n'.join(log)
    assert f'read as {name}' in said
    assert all(line in said for line in conversion.account())


def test_a_prefix_inside_the_file_comes_first(tmp_path, log):
    weights = published('videomae_mmaction')
    other = {'other.weight': torch.zeros(1)}
    mine = {f'my.student.{key}': value for key, value in weights.items()}
    path = tmp_path / 'weights.safetensors'
    save_file({**mine, **other}, path)
    expected = LAYOUTS['videomae_mmaction'].convert(weights).state_dict
    for prefix in ('my.student', 'my.student.'):
        require_held(load('videomae', path, prefix), expected)
    assert "ignored 1: outside of 'my.student.'" in log[-1]


def authors_cast():
    """A CAST checkpoint of the authors, written from experts of ours."""
    ours = {}
    for name, model in dict(spatial='clip', temporal='videomae').items():
        expert = MODELS.build(EXPERTS[model])
        for key, value in expert.state_dict().items():
            if not key.endswith('qkv.bias'):
                value = torch.randn_like(value)
            ours[f'backbone.experts.{name}.{key}'] = value.half().float()
    return ours, to_reference(ours)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_an_expert_of_the_authors_cast(dtype, tmp_path):
    ours, theirs = authors_cast()
    theirs = {key: value.to(dtype) for key, value in theirs.items()}
    path = saved(dict(module=theirs), tmp_path)
    for name, model in dict(spatial='clip', temporal='videomae').items():
        front = f'backbone.experts.{name}.'
        expert = load(model, path, front)
        mine = {
            key.removeprefix(front): value
            for key, value in ours.items()
            if key.startswith(front)
        }
        assert set(mine) == set(expert.state_dict())
        require_held(expert, mine)


REFUSED = dict(
    expert=(
        'clip',
        lambda: published('ast_hf'),
        None,
        'it holds weights of ast_hf',
    ),
    # A whole model needs a prefix, and one that is there.
    whole=('clip', lambda: authors_cast()[1], None, 'backbone.experts.'),
    prefix=('clip', lambda: published('clip_hf'), 'a', "the prefix 'a.'"),
)


@pytest.mark.parametrize('case', REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_named(case, tmp_path):
    model, container, prefix, words = case
    with pytest.raises(ValueError) as error:
        load(model, saved(container(), tmp_path), prefix)
    text = str(error.value)
    assert words in text and '\n' not in text
    assert f'is not a checkpoint of this {EXPERTS[model]["type"]}: ' in text


def test_an_openclip_activation_can_be_chosen(tmp_path):
    frames = torch.randn(1, 3, 2, 32, 32)
    path = saved(published('clip_openai'), tmp_path)
    quick = load('clip', path).eval()
    exact = MODELS.build(
        dict(
            EXPERTS['clip'],
            arch=dict(ARCH, activation='gelu'),
            init_cfg=dict(type='Pretrained', checkpoint=str(path)),
        )
    ).eval()
    exact.init_weights()
    assert isinstance(exact.layers[0].ffn.act, torch.nn.GELU)
    assert not torch.equal(quick(frames), exact(frames))
