# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Full-size models: every tensor of ours gets one of the right shape."""

import pytest
import torch
from mmaction.registry import MODELS
from published import (
    hugging_face,
    official_ast,
    official_videomae_encoder,
    openai_tower,
)

from ca2st_mm.checkpoints import detect_source, unwrap

BASE = dict(
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
)
LARGE = dict(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
)


@pytest.fixture(autouse=True)
def without_memory():
    """Shapes only: no tensor of these tests holds values."""
    with torch.device('meta'):
        yield


def require_equal_shapes(container, expert, optional=()):
    state_dict = unwrap(container).state_dict
    found = detect_source(state_dict).to_ours(state_dict).state_dict
    own = MODELS.build(dict(expert, adapter_ratio=None)).state_dict()
    assert set(own) - set(found) == set(optional)
    for key, value in found.items():
        assert value.shape == own[key].shape, key


@pytest.mark.parametrize(
    'arch, sizes',
    [
        ('base', dict(BASE, patch_size=16)),
        ('large', dict(LARGE, patch_size=14)),
    ],
    ids=['B/16', 'L/14'],
)
def test_clip(arch, sizes):
    transformers = hugging_face()
    config = transformers.CLIPVisionConfig(**sizes, image_size=224)
    model = transformers.CLIPVisionModel(config)
    expert = dict(type='CLIPExpert', arch=arch)
    require_equal_shapes(model.state_dict(), expert)
    require_equal_shapes(openai_tower(model), expert)


@pytest.mark.parametrize('arch, sizes', [('base', BASE), ('large', LARGE)])
def test_videomae(arch, sizes):
    transformers = hugging_face()
    # The sinusoid table, slow to make, is no part of the weights.
    config = transformers.VideoMAEConfig(**sizes, image_size=32, num_frames=2)
    model = transformers.VideoMAEForPreTraining(config)
    encoder = official_videomae_encoder(model.videomae)
    expert = dict(type='VideoMAEExpert', arch=arch)
    norm = ('norm.weight', 'norm.bias')
    require_equal_shapes(model.state_dict(), expert, norm)
    require_equal_shapes(dict(model=encoder), expert, norm)


def test_ast():
    transformers = hugging_face()
    model = transformers.ASTModel(transformers.ASTConfig())
    expert = dict(type='ASTExpert')
    require_equal_shapes(model.state_dict(), expert)
    require_equal_shapes(official_ast(model), expert)
