# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Loading an expert from a file: nothing is lost in silence."""

import pytest
import torch
from mmaction.registry import MODELS
from tiny_models import (
    ARCH,
    AST,
    CLIP,
    EXPERTS,
    MMACTION,
    MMPRETRAIN,
    VIDEOMAE,
    build,
    randomize,
)

every_expert = pytest.mark.parametrize('name', sorted(EXPERTS))


def saved(state_dict, tmp_path, prefix=''):
    path = tmp_path / 'expert.pth'
    renamed = {prefix + key: value for key, value in state_dict.items()}
    torch.save(dict(state_dict=renamed, meta={}), path)
    return str(path)


def load(cfg, path, **init_cfg):
    init_cfg = dict(type='Pretrained', checkpoint=path, **init_cfg)
    expert = build(cfg, init_cfg=init_cfg)
    expert.init_weights()
    return expert


def one_sentence(error):
    text = str(error.value)
    assert '\n' not in text
    assert len(text) < 400
    return text


@every_expert
def test_a_solo_checkpoint_loads_with_its_prefix(name, tmp_path):
    source = randomize(build(EXPERTS[name]))
    path = saved(source.state_dict(), tmp_path, 'backbone.')
    torch.save(
        dict(
            state_dict={
                **torch.load(path)['state_dict'],
                'cls_head.fc.weight': torch.zeros(2),
            }
        ),
        path,
    )
    expert = load(EXPERTS[name], path, prefix='backbone.')
    for key, value in source.state_dict().items():
        assert torch.equal(expert.state_dict()[key], value), key


@every_expert
def test_adapters_and_final_norm_may_be_absent(name, tmp_path):
    source = randomize(build(EXPERTS[name]))
    parts = source.parts()
    fresh = {id(p) for p in parts['adapters'] + parts['norm']}
    skipped = {k for k, p in source.named_parameters() if id(p) in fresh}
    kept = {k: v for k, v in source.state_dict().items() if k not in skipped}
    expert = load(EXPERTS[name], saved(kept, tmp_path))
    for key, value in kept.items():
        assert torch.equal(expert.state_dict()[key], value), key


@every_expert
def test_a_missing_file_is_named(name):
    with pytest.raises(FileNotFoundError) as error:
        load(EXPERTS[name], 'no/such/file.pth')
    assert "'no/such/file.pth'" in one_sentence(error)


@every_expert
def test_a_foreign_checkpoint_is_refused(name, tmp_path):
    path = saved(dict(conv1=torch.zeros(2)), tmp_path)
    with pytest.raises(ValueError, match=f'not a checkpoint of this {name}'):
        load(EXPERTS[name], path)


@every_expert
def test_a_missing_layer_is_named(name, tmp_path):
    state = build(EXPERTS[name]).state_dict()
    dropped = next(
        k for k in state if k.endswith(('qkv.weight', 'query.weight'))
    )
    del state[dropped]
    with pytest.raises(ValueError) as error:
        load(EXPERTS[name], saved(state, tmp_path))
    assert f"missing ('{dropped}'" in one_sentence(error)


@every_expert
def test_a_wrong_shape_is_given_with_both_sizes(name, tmp_path):
    state = build(EXPERTS[name]).state_dict()
    key = next(k for k in state if k.endswith(('qkv.weight', 'query.weight')))
    state[key] = state[key][:30]
    with pytest.raises(ValueError) as error:
        load(EXPERTS[name], saved(state, tmp_path))
    text = one_sentence(error)
    assert '(30, 16)' in text and '(48, 16)' in text


def test_only_pretrained_is_understood(tmp_path):
    expert = build(CLIP, init_cfg=dict(type='Kaiming'))
    with pytest.raises(ValueError, match="type='Pretrained'.*got .*'Kaiming'"):
        expert.init_weights()


@pytest.mark.parametrize(
    'cfg, key',
    [(CLIP, 'pos_embed'), (MMPRETRAIN, 'backbone.pos_embed')],
)
def test_image_position_grids_are_resized(cfg, key, tmp_path):
    state = build(cfg).state_dict()
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
    arch = dict(ARCH, pretrained_mels=56)  # 5 rows
    cfg = dict(AST, arch=arch, position_fit=fit)
    state = build(cfg).state_dict()
    table = torch.randn(1, 2 + 5 * 7, 16)
    state['pos_embed'] = table
    loaded = load(cfg, saved(state, tmp_path)).pos_embed.detach()
    grid = table[0, 2:].reshape(5, 7, 16)
    # Fewer rows and columns than pre-trained: the middle of both.
    expected = grid[1:4, 1:6].reshape(15, 16)
    assert torch.equal(loaded[:, :2], table[:, :2])
    assert torch.equal(loaded[0, 2:], expected)


def test_a_bare_mmpretrain_checkpoint_loads(tmp_path):
    bare = randomize(MODELS.build(MMPRETRAIN['backbone']))
    path = saved(bare.state_dict(), tmp_path, 'backbone.')
    for arguments in ({}, dict(prefix='backbone')):
        expert = load(MMPRETRAIN, path, **arguments)
        for key, value in bare.state_dict().items():
            assert torch.equal(expert.backbone.state_dict()[key], value)


def test_a_bare_mmaction_checkpoint_loads_for_other_frames(tmp_path):
    backbone = dict(MMACTION['backbone'], num_frames=8)
    bare = randomize(MODELS.build(backbone))
    path = saved(bare.state_dict(), tmp_path)
    expert = load(MMACTION, path)
    weights = expert.backbone.state_dict()
    for key, value in bare.named_parameters():
        assert torch.equal(weights[key], value)
    assert weights['pos_embed'].shape[1] == 8


def test_a_recognizer_loads_its_experts(tmp_path):
    source = randomize(build(VIDEOMAE))
    path = saved(source.state_dict(), tmp_path)
    init_cfg = dict(type='Pretrained', checkpoint=path)
    backbone = build(
        dict(
            type='MultiExpertBackbone',
            experts=dict(
                spatial=CLIP, temporal=dict(VIDEOMAE, init_cfg=init_cfg)
            ),
            inputs=dict(spatial='imgs', temporal='imgs'),
        )
    )
    backbone.init_weights()
    own = backbone.experts['temporal'].state_dict()
    assert all(torch.equal(own[k], v) for k, v in source.state_dict().items())
