# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Attention against a loop over heads."""

import pytest
import torch
from tiny_models import difference, randomize

from ca2st_mm.models.layers import CrossAttention, SelfAttention
from ca2st_mm.models.layers.attention import KeepWeights

DIMS, HEADS = 12, 3


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


def test_order_of_the_context_does_not_matter():
    module = randomize(CrossAttention(DIMS, HEADS))
    x, context = torch.randn(2, 7, DIMS), torch.randn(2, 5, DIMS)
    shuffled = context[:, torch.randperm(5)]
    assert difference(module(x, context), module(x, shuffled)) < 1e-6


def test_key_bias_has_no_effect():
    module = randomize(SelfAttention(DIMS, HEADS))
    x = torch.randn(2, 7, DIMS)
    before = module(x)
    with torch.no_grad():
        module.qkv.bias[DIMS : 2 * DIMS] += 3
    assert difference(module(x), before) < 1e-5
    with torch.no_grad():
        module.qkv.bias[:DIMS] += 3
    assert difference(module(x), before) > 1e-2


@pytest.mark.parametrize('head', [None, 0, 2])
@pytest.mark.parametrize('kind', [SelfAttention, CrossAttention])
def test_keeping_the_weights_changes_no_result(kind, head):
    module, x = randomize(kind(DIMS, HEADS)), torch.randn(2, 7, DIMS)
    inputs = (x,) if kind is SelfAttention else (x, torch.randn(2, 5, DIMS))
    attend = KeepWeights(head)
    assert difference(module(*inputs, attend), module(*inputs)) < 1e-5
    assert attend.weights.shape == (2, 7, inputs[-1].shape[1])
    assert difference(attend.weights.sum(-1), torch.ones(2, 7)) < 1e-5
    assert not attend.weights.requires_grad


def test_heads_differ_and_their_mean_is_the_default():
    module, x = randomize(SelfAttention(DIMS, HEADS)), torch.randn(2, 7, DIMS)
    kept = [KeepWeights(head) for head in (0, 1, 2, None)]
    for attend in kept:
        module(x, attend)
    *heads, mean = (attend.weights for attend in kept)
    assert difference(heads[0], heads[1]) > 1e-3
    assert difference(sum(heads) / 3, mean) < 1e-6
    with pytest.raises(ValueError, match='heads 0 to 2, not 3'):
        module(x, KeepWeights(3))


def test_weights_say_where_a_query_looks():
    module = randomize(CrossAttention(DIMS, 1))
    with torch.no_grad():
        # Query and key pass through; token i looks for token 4 - i.
        module.q.weight.copy_(torch.eye(DIMS))
        module.kv.weight[:DIMS].copy_(torch.eye(DIMS))
        module.q.bias.zero_()
        module.kv.bias.zero_()
    tokens, attend = 9 * torch.eye(5, DIMS)[None], KeepWeights()
    module(tokens.flip(1), tokens, attend)
    assert attend.weights[0].argmax(-1).tolist() == [4, 3, 2, 1, 0]


@pytest.mark.parametrize('module', [SelfAttention, CrossAttention])
def test_heads_that_do_not_divide_are_named(module):
    with pytest.raises(ValueError, match='5 heads.*12 channels'):
        module(12, 5)
