# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Adapters, fusion of features and the halves of a layer."""

import pytest
import torch
from tiny_models import difference, randomize

from ca2st_mm.models.layers import (
    Adapter,
    AttentionBlock,
    ExpertFusion,
    FeedForwardBlock,
    LayerOptions,
    ResidualAdapter,
)
from ca2st_mm.models.layers.activation import build_activation

OPTIONS = LayerOptions(embed_dims=16, num_heads=2, feedforward_channels=32)
BARE = LayerOptions(16, 2, 32, adapter_ratio=None)


def test_an_adapter_starts_at_zero():
    assert not Adapter(16)(torch.randn(3, 16)).any()
    assert Adapter(16, zero_init=False)(torch.randn(3, 16)).any()


def test_a_residual_adapter_starts_as_the_identity():
    x = torch.randn(3, 16)
    assert torch.equal(ResidualAdapter(16)(x), x)


def test_an_adapter_without_hidden_channels_raises():
    with pytest.raises(ValueError, match=r'ratio 0\.01 on 16 channels'):
        Adapter(16, ratio=0.01)


def test_quick_gelu():
    x = torch.linspace(-3, 3, 20)
    torch.testing.assert_close(
        build_activation('quick_gelu')(x), x * torch.sigmoid(1.702 * x)
    )
    with pytest.raises(ValueError, match="'swish'"):
        build_activation('swish')


@pytest.mark.parametrize('half', [AttentionBlock, FeedForwardBlock])
def test_adapters_at_init_change_nothing(half):
    torch.manual_seed(0)
    bare = half(BARE)
    with_adapter = half(OPTIONS)
    with_adapter.load_state_dict(bare.state_dict(), strict=False)
    tokens = torch.randn(2, 3, 5, 16)
    assert torch.equal(bare(tokens), with_adapter(tokens))


def test_the_adapter_beside_the_ffn_reads_the_norm_and_is_halved():
    half = randomize(FeedForwardBlock(OPTIONS))
    tokens = torch.randn(2, 3, 5, 16)
    normed = half.norm(tokens)
    ffn = half.fc2(torch.nn.functional.gelu(half.fc1(normed)))
    expected = tokens + ffn + 0.5 * half.adapter(normed)
    assert difference(half(tokens), expected) < 1e-6


def test_the_serial_adapter_comes_after_the_projection():
    half = randomize(AttentionBlock(OPTIONS))
    tokens = torch.randn(2, 3, 5, 16)
    branch = half.attn(half.norm(tokens).reshape(2, 15, 16))
    branch = branch.reshape(2, 3, 5, 16)
    hidden = torch.nn.functional.gelu(half.adapter.down(branch))
    expected = tokens + branch + half.adapter.up(hidden)
    assert difference(half(tokens), expected) < 1e-6


def test_fusion_sums_or_averages_what_is_there():
    feats = dict(a=torch.randn(2, 8), b=torch.randn(2, 12))
    same = dict(a=dict(type='Identity'), b=dict(type='ResidualAdapter'))
    feats['b'] = torch.randn(2, 8)
    total = ExpertFusion(dict(a=8, b=8), same)(feats)
    assert torch.equal(total, feats['a'] + feats['b'])
    mean = ExpertFusion(dict(a=8, b=8), same, reduction='mean')
    assert torch.equal(mean(feats), total / 2)
    assert torch.equal(mean(dict(a=feats['a'])), feats['a'])


def test_fusion_leaves_absent_samples_out():
    same = dict(a=dict(type='Identity'), b=dict(type='Identity'))
    fuse = ExpertFusion(dict(a=8, b=8), same, reduction='mean')
    feats = dict(a=torch.randn(2, 8), b=torch.randn(2, 8))
    fused = fuse(dict(feats, b_present=torch.tensor([[0.0], [1.0]])))
    assert torch.equal(fused[0], feats['a'][0])
    assert torch.equal(fused[1], (feats['a'] + feats['b'])[1] / 2)


def test_fusion_names_what_does_not_fit():
    with pytest.raises(ValueError, match="'ghost'"):
        ExpertFusion(dict(a=8), dict(ghost=dict(type='Adapter')))
    with pytest.raises(ValueError, match='max'):
        ExpertFusion(dict(a=8), reduction='max')
    with pytest.raises(ValueError, match="'MLP'"):
        ExpertFusion(dict(a=8), dict(a=dict(type='MLP')))
    with pytest.raises(KeyError, match=r"\['a'\].*\['b'\]"):
        ExpertFusion(dict(a=8))(dict(b=torch.randn(2, 8)))
