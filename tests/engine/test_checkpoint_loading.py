# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""MMEngine's own doors take the authors' checkpoints, and refuse others."""

import copy

import pytest
import tiny_models as tiny
import torch
from mmengine.runner import load_checkpoint

from ca2st_mm.checkpoints import to_reference
from ca2st_mm.registry import MODELS

DIMS = dict(spatial=tiny.DIMS, temporal=tiny.DIMS)
MODEL = dict(
    type='MultiExpertRecognizer',
    backbone=tiny.CAST,
    cls_head=dict(type='FusionHead', num_classes=3, in_channels=DIMS),
)


def build(seed):
    model = MODELS.build(copy.deepcopy(MODEL))
    tiny.randomize(model, seed=seed)
    for layer in model.backbone.experts.temporal.layers:
        layer.attention.attn.qkv.bias.data[tiny.DIMS : 2 * tiny.DIMS] = 0
    return model


@pytest.mark.parametrize('wrapper', ['model', 'module'])
def test_a_checkpoint_of_the_authors_loads(tmp_path, wrapper):
    trained, other = build(0), build(1)
    theirs = to_reference(trained.state_dict())
    torch.save({wrapper: theirs}, tmp_path / 'theirs.pt')
    load_checkpoint(other, str(tmp_path / 'theirs.pt'))
    for key, value in trained.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    torch.save({'state_dict': {'a.b': torch.ones(1)}}, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match="none of the 1 tensors.*'a.b'"):
        load_checkpoint(build(0), str(tmp_path / 'other.pth'))


def test_the_head_names_experts_of_the_backbone():
    cfg = copy.deepcopy(MODEL)
    cfg['cls_head']['in_channels'] = dict(
        spatial=tiny.DIMS, temperal=tiny.DIMS
    )
    with pytest.raises(ValueError, match=r"names \['temperal'\].*temporal"):
        MODELS.build(cfg)
