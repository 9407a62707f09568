# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Attention of experts (self) and of links (cross).

Both take the function ``attend(q, k, v)`` that mixes the values, each
(B, heads, L, d): by default PyTorch's fused ``scaled_dot_product_attention``
(softmax scale d ** -0.5, no dropout), which keeps no weights.
:class:`KeepWeights` is one that does.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from .init import linear


def check_heads(dims: int, num_heads: int) -> None:
    """Raise ``ValueError`` unless the heads split the channels evenly."""
    if dims % num_heads:
        raise ValueError(f'{num_heads} heads do not divide {dims} channels')


def _split_heads(x: Tensor, num_heads: int) -> Tensor:
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _merge_heads(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)


Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
fused_attention: Attend = F.scaled_dot_product_attention


class KeepWeights:
    """Attention by an explicit softmax that keeps its weights.

    Gives the results of the fused one up to rounding, and takes memory for
    the weights of all heads.

    Args:
        head: The head whose weights are kept; None for the mean over heads.
    """

    def __init__(self, head: int | None = None) -> None:
        self.head = head
        self.weights: Tensor | None = None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, heads, L, d) and twice (B, heads, M, d) -> (B, heads, L, d).

        Keeps ``weights`` (B, L, M), float32; each row sums to one.
        """
        heads = query.shape[1]
        if self.head is not None and not 0 <= self.head < heads:
            raise ValueError(
                f'this attention has the heads 0 to {heads - 1}, not '
                f'{self.head}'
            )
        logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        # As the fused path, which keeps its softmax in float32.
        weights = logits.float().softmax(dim=-1)
        one = weights.mean(1) if self.head is None else weights[:, self.head]
        self.weights = one.detach()
        return weights.to(value.dtype) @ value


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

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        check_heads(embed_dims, num_heads)
        self.num_heads = num_heads
        self.qkv = linear(embed_dims, 3 * embed_dims)
        self.proj = linear(embed_dims, embed_dims)

    def heads(self, x: Tensor, attend: Attend = fused_attention) -> Tensor:
        """What the heads found, not yet projected: (B, L, C) -> same."""
        q, k, v = (
            _split_heads(part, self.num_heads)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        return _merge_heads(attend(q, k, v))

    def forward(self, x: Tensor, attend: Attend = fused_attention) -> Tensor:
        """Attend within each sequence: (B, L, C) -> (B, L, C)."""
        return self.proj(self.heads(x, attend))


class CrossAttention(nn.Module):
    """Multi-head attention from one sequence to another of equal width.

    Args:
        embed_dims: Channels C of both sequences.
        num_heads: Heads; must divide ``embed_dims``.

    Raises:
        ValueError: If the heads do not divide the channels.
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        check_heads(embed_dims, num_heads)
        self.num_heads = num_heads
        self.q = linear(embed_dims, embed_dims)
        self.kv = linear(embed_dims, 2 * embed_dims)
        self.proj = linear(embed_dims, embed_dims)

    def forward(
        self, query: Tensor, context: Tensor, attend: Attend = fused_attention
    ) -> Tensor:
        """Answer queries (B, L, C) from a context (B, M, C): (B, L, C)."""
        q = _split_heads(self.q(query), self.num_heads)
        k, v = (
            _split_heads(part, self.num_heads)
            for part in self.kv(context).chunk(2, dim=-1)
        )
        return self.proj(_merge_heads(attend(q, k, v)))
