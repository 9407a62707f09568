# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The path that keeps attention weights computes what the fused one does."""

import pytest
import torch
from tiny_models import difference, randomize

from ca2st_mm.models.layers import CrossAttention, SelfAttention
from ca2st_mm.models.layers.attention_weights import record_attention

DIMS, HEADS = 12, 3
QUERY, CONTEXT = torch.randn(2, 7, DIMS), torch.randn(2, 5, DIMS)


def cases():
    return [
        (randomize(SelfAttention(DIMS, HEADS)), (QUERY,), 7),
        (randomize(CrossAttention(DIMS, HEADS)), (QUERY, CONTEXT), 5),
    ]


@pytest.mark.parametrize('head', [None, 0, 2])
def test_slow_path_equals_the_fused_one_and_rows_sum_to_one(head):
    for module, inputs, length in cases():
        expected = module(*inputs)
        with record_attention(dict(it=module), head) as weights:
            assert difference(module(*inputs), expected) < 1e-5
        assert weights['it'].shape == (2, 7, length)
        assert difference(weights['it'].sum(-1), torch.ones(2, 7)) < 1e-5
        assert not weights['it'].requires_grad


def test_heads_differ_and_their_mean_is_the_default():
    module = randomize(CrossAttention(DIMS, HEADS))
    read = []
    for head in (0, 1, 2, None):
        with record_attention(dict(it=module), head) as weights:
            module(QUERY, CONTEXT)
        read.append(weights['it'])
    assert difference(read[0], read[1]) > 1e-3
    assert difference(sum(read[:3]) / 3, read[3]) < 1e-6


def test_weights_say_where_a_query_looks():
    module = randomize(CrossAttention(DIMS, 1))
    with torch.no_grad():
        # Query and key pass through; token i asks for token 4 - i.
        module.q.weight.copy_(torch.eye(DIMS))
        module.kv.weight[:DIMS].copy_(torch.eye(DIMS))
        module.q.bias.zero_()
        module.kv.bias.zero_()
    tokens = 9 * torch.eye(5, DIMS)[None]
    with record_attention(dict(it=module)) as weights:
        module(tokens.flip(1), tokens)
    assert weights['it'][0].argmax(-1).tolist() == [4, 3, 2, 1, 0]


def test_the_fused_path_is_back_afterwards_even_after_an_error():
    module = randomize(SelfAttention(DIMS, HEADS))
    before = dict(vars(module))
    for _ in range(50):
        with pytest.raises(RuntimeError), record_attention(dict(it=module)):
            module(torch.randn(1, 2, DIMS + 1))
    assert vars(module) == before
    keys = set(module.state_dict())
    with record_attention(dict(it=module)):
        assert set(module.state_dict()) == keys


def test_what_cannot_be_read_is_said():
    module = SelfAttention(DIMS, HEADS)
    with pytest.raises(ValueError, match='heads 0 to 2, not 3'):
        with record_attention(dict(it=module), 3):
            pass
    with pytest.raises(ValueError, match='it is a Linear'):
        with record_attention(dict(it=torch.nn.Linear(2, 2))):
            pass
    with record_attention(dict(it=module)) as weights:
        with pytest.raises(ValueError, match='being read already'):
            with record_attention(dict(it=module)):
                pass
        module(QUERY)
    assert set(weights) == {'it'} and 'attend' not in vars(module)


def test_a_module_before_a_faulty_one_is_left_as_it_was():
    module = SelfAttention(DIMS, HEADS)
    modules = dict(good=module, bad=torch.nn.Identity())
    with pytest.raises(ValueError), record_attention(modules):
        pass
    assert 'attend' not in vars(module)
