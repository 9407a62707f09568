# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Loading an expert from a file: nothing is lost in silence."""

import pytest
import tiny_models as tiny
import torch
from mmaction.registry import MODELS

every_expert = pytest.mark.parametrize('name', sorted(tiny.EXPERTS))


def saved(state_dict, tmp_path, prefix=''):
    path = tmp_path / 'expert.pth'
    renamed = {prefix + key: value for key, value in state_dict.items()}
    torch.save(dict(state_dict=renamed, meta={}), path)
    return str(path)


def load(cfg, path, **init_cfg):
    init_cfg = dict(type='Pretrained', checkpoint=path, **init_cfg)
    expert = tiny.build(cfg, init_cfg=init_cfg)
    expert.init_weights()
    return expert


@every_expert
def test_a_solo_checkpoint_loads_with_its_prefix(name, tmp_path):
    source = tiny.noisy(tiny.EXPERTS[name]).state_dict()
    state = {f'backbone.{key}': value for key, value in source.items()}
    state['cls_head.fc.weight'] = torch.zeros(2)
    expert = load(
        tiny.EXPERTS[name], saved(state, tmp_path), prefix='backbone.'
    )
    tiny.assert_same(expert.state_dict(), source, atol=0, rtol=0)


@every_expert
def test_adapters_and_final_norm_may_be_absent(name, tmp_path):
    source = tiny.noisy(tiny.EXPERTS[name])
    parts = source.parts()
    fresh = {id(p) for p in parts['adapters'] + parts['norm']}
    skipped = {k for k, p in source.named_parameters() if id(p) in fresh}
    kept = {k: v for k, v in source.state_dict().items() if k not in skipped}
    expert = load(tiny.EXPERTS[name], saved(kept, tmp_path))
    for key, value in kept.items():
        assert torch.equal(expert.state_dict()[key], value), key


@every_expert
def test_files_that_do_not_fit_are_refused_in_one_sentence(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="'no/such/file.pth'"):
        load(tiny.EXPERTS[name], 'no/such/file.pth')
    state = tiny.build(tiny.EXPERTS[name]).state_dict()
    key = next(k for k in state if k.endswith(('qkv.weight', 'query.weight')))
    without = {k: v for k, v in state.items() if k != key}
    for wrong, message in (
        (dict(conv1=torch.zeros(2)), f'not a checkpoint of this {name}'),
        (without, rf"missing \('{key}'"),
        (dict(state, **{key: state[key][:5]}), r'\(5, 16\)'),
    ):
        with pytest.raises(ValueError, match=message) as error:
            load(tiny.EXPERTS[name], saved(wrong, tmp_path))
        text = str(error.value)
        assert '\n' not in text and len(text) < 400


def test_only_pretrained_is_understood(tmp_path):
    expert = tiny.build(tiny.CLIP, init_cfg=dict(type='Kaiming'))
    with pytest.raises(ValueError, match="type='Pretrained'.*got .*'Kaiming'"):
        expert.init_weights()


def test_image_position_grids_of_mmpretrain_are_resized(tmp_path):
    cfg, key = tiny.MMPRETRAIN, 'backbone.pos_embed'
    state = tiny.build(cfg).state_dict()
    state[key] = torch.randn(1, 1 + 9, 16)
    expert = load(cfg, saved(state, tmp_path))
    loaded = expert.state_dict()[key]
    grid = state[key][:, 1:].reshape(1, 3, 3, 16).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, size=(2, 2), mode='bicubic')
    assert torch.equal(loaded[:, 0], state[key][:, 0])
    expected = grid.flatten(2).transpose(1, 2)
    assert torch.allclose(loaded[:, 1:], expected, atol=1e-6)


@pytest.mark.parametrize('fit', ['crop', 'squeeze'])
def test_spectrogram_position_grids_are_fitted(fit, tmp_path):
    arch = dict(tiny.ARCH, pretrained_mels=56)  # 5 rows
    cfg = dict(tiny.AST, arch=arch, position_fit=fit)
    state = tiny.build(cfg).state_dict()
    table = torch.randn(1, 2 + 5 * 7, 16)
    state['pos_embed'] = table
    loaded = load(cfg, saved(state, tmp_path)).pos_embed.detach()
    grid = table[0, 2:].reshape(5, 7, 16)
    # Fewer rows and columns than pre-trained: the middle of both.
    expected = grid[1:4, 1:6].reshape(15, 16)
    assert torch.equal(loaded[:, :2], table[:, :2])
    assert torch.equal(loaded[0, 2:], expected)


def test_a_bare_mmpretrain_checkpoint_loads(tmp_path):
    bare = tiny.randomize(
        MODELS.build(tiny.MMPRETRAIN['backbone'])
    ).state_dict()
    path = saved(bare, tmp_path, 'backbone.')
    for arguments in ({}, dict(prefix='backbone')):
        found = load(tiny.MMPRETRAIN, path, **arguments).backbone.state_dict()
        tiny.assert_same(found, bare, atol=0, rtol=0)


def test_a_bare_mmaction_checkpoint_loads_for_other_frames(tmp_path):
    backbone = dict(tiny.MMACTION['backbone'], num_frames=8)
    bare = tiny.randomize(MODELS.build(backbone))
    expert = load(tiny.MMACTION, saved(bare.state_dict(), tmp_path))
    weights = expert.backbone.state_dict()
    for key, value in bare.named_parameters():
        assert torch.equal(weights[key], value)
    assert weights['pos_embed'].shape[1] == 8
