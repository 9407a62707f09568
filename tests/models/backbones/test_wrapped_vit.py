# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Wrapped ViTs equal the bare ones; what does not fit is refused."""

import pytest
import torch
from tiny_models import MMACTION, MMPRETRAIN, build, difference, video

IMAGE = dict(MMPRETRAIN, num_frames=1, frame_stride=1)


def with_backbone(cfg, **changes):
    return dict(cfg, backbone=dict(cfg['backbone'], **changes))


def noisy_backbone(expert, seed=0):
    """Noise in the wrapped weights; the adapters keep their zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in expert.backbone.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return expert


@pytest.mark.parametrize(
    'changes',
    [
        {},
        dict(out_type='avg_featmap'),
        dict(out_type='avg_featmap', with_cls_token=False),
        dict(pre_norm=True, layer_scale_init_value=0.1),
        dict(final_norm=False, qkv_bias=False),
        dict(layer_cfgs=dict(ffn_type='swiglu_fused')),
    ],
)
def test_mmpretrain_vit_is_reproduced(changes):
    expert = noisy_backbone(build(with_backbone(IMAGE, **changes)))
    images = video()[:, :, 0]
    bare = expert.backbone(images)[-1]
    assert difference(expert(images), bare) == 0


def test_frames_are_averaged():
    expert = noisy_backbone(build(MMPRETRAIN))
    clip = video()
    bare = [expert.backbone(clip[:, :, t])[-1] for t in (1, 3)]
    assert difference(expert(clip), sum(bare) / 2) < 1e-6


@pytest.mark.parametrize(
    'changes',
    [
        {},
        dict(init_values=0.1),
        dict(qkv_bias=False),
        dict(use_mean_pooling=False),
        dict(use_learnable_pos_emb=True),
    ],
)
def test_mmaction_vit_is_reproduced(changes):
    expert = noisy_backbone(build(with_backbone(MMACTION, **changes)))
    assert difference(expert(video()), expert.backbone(video())) < 1e-6


@pytest.mark.parametrize('cfg', [MMPRETRAIN, MMACTION])
def test_adapters_take_part(cfg):
    expert = noisy_backbone(build(cfg))
    before = expert(video())
    for block in ('attention', 'ffn'):
        adapter = getattr(expert.adapters[0], block)
        torch.nn.init.normal_(adapter.up.weight)
        after = expert(video())
        assert difference(after, before) > 1e-3
        before = after


@pytest.mark.parametrize(
    'kind, changes',
    [
        ('mmpretrain.BEiTViT', {}),
        ('mmpretrain.ViTEVA02', {}),
        ('mmpretrain.DistilledVisionTransformer', {}),
        ('mmpretrain.ResNet', dict(depth=18)),
    ],
)
def test_what_mmpretrain_cannot_stop_is_refused(kind, changes):
    backbone = dict(MMPRETRAIN['backbone'], type=kind)
    if changes:
        backbone = dict(changes, type=kind)
    elif kind.endswith('EVA02'):
        backbone['arch'] = dict(backbone['arch'], feedforward_channels=32)
    with pytest.raises(TypeError) as error:
        build(MMPRETRAIN, backbone=backbone)
    assert kind.split('.')[1] in str(error.value)
    assert 'inside the layers' in str(error.value)


def test_what_mmaction_cannot_stop_is_refused():
    with pytest.raises(TypeError, match='ResNet.*vit_mae'):
        build(MMACTION, backbone=dict(type='ResNet', depth=18))
    with pytest.raises(TypeError, match='mmpretrain.*vit_mae'):
        build(MMACTION, backbone=MMPRETRAIN['backbone'])


@pytest.mark.parametrize(
    'cfg, changes, message',
    [
        (MMPRETRAIN, dict(out_type='raw'), "'cls_token'.*'raw'"),
        (MMPRETRAIN, dict(out_indices=[0, 1]), r'out_indices.*\[0, 1\]'),
        (MMACTION, dict(return_feat_map=True), 'return_feat_map'),
    ],
)
def test_backbones_that_return_maps_are_refused(cfg, changes, message):
    with pytest.raises(ValueError, match=message):
        build(with_backbone(cfg, **changes))


def test_hooks_and_lora_act_on_qkv_of_mmaction():
    """MMAction2's own forward reads the weight of `qkv` past the module."""
    expert = noisy_backbone(build(MMACTION))
    before = expert(video())
    qkv = expert.backbone.blocks[1].attn.qkv
    qkv.register_forward_hook(lambda *args: args[-1] + 1)
    assert difference(expert(video()), before) > 1e-3


@pytest.mark.parametrize('cfg', [MMPRETRAIN, MMACTION])
def test_init_weights_keeps_adapters_at_zero(cfg):
    expert = build(cfg)
    expert.init_weights()
    assert not expert.adapters[0].ffn.up.weight.any()
    assert expert.adapters[0].ffn.down.weight.any()
