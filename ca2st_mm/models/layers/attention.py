# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Attention of experts (self) and of links (cross).

Both run through PyTorch's fused ``scaled_dot_product_attention``; softmax
scale is head_dims ** -0.5 and there is no dropout.  The fused call keeps no
weights: ``attention_weights.record_attention`` swaps in one that does.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .init import linear


def check_heads(dims: int, num_heads: int) -> None:
    """Raise ``ValueError`` unless the heads split the channels evenly."""
    if dims % num_heads:
        raise ValueError(f'{num_heads} heads do not divide {dims} channels')


def _split_heads(x: Tensor, num_heads: int) -> Tensor:
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(heads: Tensor) -> Tensor:
    """(B, heads, L, dims) -> (B, L, heads * dims)."""
    return heads.transpose(1, 2).flatten(2)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return merge_heads(F.scaled_dot_product_attention(query, key, value))


class SelfAttention(nn.Module):
    """Multi-head self-attention with one projection for q, k and v.

    A ViT without a key bias (VideoMAE) is the case of a key bias of zero: it
    adds the same number to all logits of a query and cannot change the result.

    Args:
        embed_dims: Channels C.
        num_heads: Heads; must divide ``embed_dims``.

    Raises:
        ValueError: If the heads do not divide the channels.
    """

    attend = staticmethod(_attend)

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        check_heads(embed_dims, num_heads)
        self.num_heads = num_heads
        self.qkv = linear(embed_dims, 3 * embed_dims)
        self.proj = linear(embed_dims, embed_dims)

    def heads(self, x: Tensor) -> Tensor:
        """What the heads found, not yet projected: (B, L, C) -> same."""
        q, k, v = (
            _split_heads(part, self.num_heads)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        return self.attend(q, k, v)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each sequence: (B, L, C) -> (B, L, C)."""
        return self.proj(self.heads(x))


class CrossAttention(nn.Module):
    """Multi-head attention from one sequence to another of equal width.

    Args:
        embed_dims: Channels C of both sequences.
        num_heads: Heads; must divide ``embed_dims``.

    Raises:
        ValueError: If the heads do not divide the channels.
    """

    attend = staticmethod(_attend)

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        check_heads(embed_dims, num_heads)
        self.num_heads = num_heads
        self.q = linear(embed_dims, embed_dims)
        self.kv = linear(embed_dims, 2 * embed_dims)
        self.proj = linear(embed_dims, embed_dims)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Answer queries (B, L, C) from a context (B, M, C): (B, L, C)."""
        q = _split_heads(self.q(query), self.num_heads)
        k, v = (
            _split_heads(part, self.num_heads)
            for part in self.kv(context).chunk(2, dim=-1)
        )
        return self.proj(self.attend(q, k, v))
