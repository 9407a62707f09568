# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Sequences, drop path, adapters, attention and the two blocks of a layer."""

import pytest
import torch
from tiny_models import difference, randomize

from ca2st_mm.models.layers import (
    Adapter,
    AttentionBlock,
    CrossAttention,
    DropPath,
    FeedForwardBlock,
    LayerOptions,
    ResidualAdapter,
    SelfAttention,
    from_sequences,
    to_sequences,
)
from ca2st_mm.models.layers.transformer import (
    RecordingAttention,
    build_activation,
    drop_path_rates,
)

B, T, N, C = 2, 3, 5, 4
DIMS, HEADS = 12, 3
OPTIONS = LayerOptions(embed_dims=16, num_heads=2, feedforward_channels=32)
SHAPE = (20, 3, 30, 4)


@pytest.mark.parametrize(
    'axis, shape',
    [
        ('time', (B * N, T, C)),
        ('space', (B * T, N, C)),
        ('all', (B, T * N, C)),
    ],
)
def test_sequences_run_along_the_axis_and_back(axis, shape):
    tokens = torch.randn(B, T, N, C)
    sequences = to_sequences(tokens, axis)
    assert sequences.shape == shape
    assert torch.equal(from_sequences(sequences, axis, tokens), tokens)


def test_a_sequence_is_one_patch_or_one_step():
    patch = torch.arange(N).view(1, 1, N, 1).expand(B, T, N, C)
    step = torch.arange(T).view(1, T, 1, 1).expand(B, T, N, C)
    for number, axis in ((patch, 'time'), (step, 'space')):
        rows = to_sequences(number, axis)
        assert (rows == rows[:, :1, :1]).all()
        count = len(rows) // B
        assert torch.equal(rows[:count, 0, 0], torch.arange(count))


@pytest.mark.parametrize('unit, dim', [('sample', 0), ('token', 2)])
def test_whole_samples_or_the_same_tokens_drop(unit, dim):
    drop, ones = DropPath(0.5, unit), torch.ones(SHAPE)
    assert drop.eval()(ones) is ones
    out = drop.train()(ones)
    kept = out[out != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 2.0))
    zero = (out == 0).transpose(0, dim).flatten(1)
    assert (zero.all(1) | ~zero.any(1)).all()
    assert 0 < zero.all(1).sum() < SHAPE[dim]


def test_rates_grow_linearly_from_zero():
    assert drop_path_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0]


@pytest.mark.parametrize(
    'build, message',
    [
        (lambda: DropPath(0.1, 'frame'), "'frame'"),
        (lambda: DropPath(1.5), '1.5'),
        (lambda: Adapter(16, ratio=0.01), r'ratio 0\.01 on 16 channels'),
        (lambda: build_activation('swish'), "'swish'"),
        (lambda: SelfAttention(12, 5), '5 heads.*12 channels'),
        (lambda: CrossAttention(12, 5), '5 heads.*12 channels'),
        (lambda: to_sequences(torch.ones(SHAPE), 'width'), "'width'"),
    ],
)
def test_what_does_not_fit_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_adapters_start_at_zero_and_as_the_identity():
    x = torch.randn(3, 16)
    assert not Adapter(16)(x).any()
    assert Adapter(16, zero_init=False)(x).any()
    assert torch.equal(ResidualAdapter(16)(x), x)


def test_quick_gelu():
    x = torch.linspace(-3, 3, 20)
    torch.testing.assert_close(
        build_activation('quick_gelu')(x), x * torch.sigmoid(1.702 * x)
    )


def test_the_adapter_parallel_to_the_ffn_reads_the_norm_and_is_halved():
    block = randomize(FeedForwardBlock(OPTIONS))
    tokens = torch.randn(2, 3, 5, 16)
    normed = block.norm(tokens)
    ffn = block.fc2(torch.nn.functional.gelu(block.fc1(normed)))
    expected = tokens + ffn + 0.5 * block.adapter(normed)
    assert difference(block(tokens), expected) < 1e-6


def test_the_serial_adapter_comes_after_the_projection():
    block = randomize(AttentionBlock(OPTIONS))
    tokens = torch.randn(2, 3, 5, 16)
    branch = block.attn(block.norm(tokens).reshape(2, 15, 16))
    branch = branch.reshape(2, 3, 5, 16)
    hidden = torch.nn.functional.gelu(block.adapter.down(branch))
    expected = tokens + branch + block.adapter.up(hidden)
    assert difference(block(tokens), expected) < 1e-6


def naive(query, key, value, num_heads):
    """Attention head by head; q, k and v are (B, L, C)."""
    size = query.shape[-1] // num_heads
    heads = []
    for head in range(num_heads):
        part = slice(head * size, (head + 1) * size)
        q, k, v = query[..., part], key[..., part], value[..., part]
        weights = (q @ k.transpose(1, 2) / size**0.5).softmax(dim=-1)
        heads.append(weights @ v)
    return torch.cat(heads, dim=-1)


def test_self_attention_equals_a_loop_over_heads():
    module = randomize(SelfAttention(DIMS, HEADS))
    x = torch.randn(2, 7, DIMS)
    q, k, v = module.qkv(x).split(DIMS, dim=-1)
    expected = module.proj(naive(q, k, v, HEADS))
    assert difference(module(x), expected) < 1e-6


def test_cross_attention_equals_a_loop_over_heads():
    module = randomize(CrossAttention(DIMS, HEADS))
    x, context = torch.randn(2, 7, DIMS), torch.randn(2, 5, DIMS)
    k, v = module.kv(context).split(DIMS, dim=-1)
    expected = module.proj(naive(module.q(x), k, v, HEADS))
    assert difference(module(x, context), expected) < 1e-6


@pytest.mark.parametrize('head', [None, 0, 2])
@pytest.mark.parametrize('kind', [SelfAttention, CrossAttention])
def test_keeping_the_weights_changes_no_result(kind, head):
    module, x = randomize(kind(DIMS, HEADS)), torch.randn(2, 7, DIMS)
    inputs = (x,) if kind is SelfAttention else (x, torch.randn(2, 5, DIMS))
    attend = RecordingAttention(head)
    assert difference(module(*inputs, attend), module(*inputs)) < 1e-5
    assert attend.weights.shape == (2, 7, inputs[-1].shape[1])
    assert difference(attend.weights.sum(-1), torch.ones(2, 7)) < 1e-5
    assert not attend.weights.requires_grad


def test_heads_differ_and_their_mean_is_the_default():
    module, x = randomize(SelfAttention(DIMS, HEADS)), torch.randn(2, 7, DIMS)
    kept = [RecordingAttention(head) for head in (0, 1, 2, None)]
    for attend in kept:
        module(x, attend)
    *heads, mean = (attend.weights for attend in kept)
    assert difference(heads[0], heads[1]) > 1e-3
    assert difference(sum(heads) / 3, mean) < 1e-6
    with pytest.raises(ValueError, match='3 heads'):
        module(x, RecordingAttention(3))
