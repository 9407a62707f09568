# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The two halves of a pre-norm transformer layer.

CAST, CAVA and CA2ST never change a half; experts meet *between* them.  A half
is also the unit of activation checkpointing, FSDP wrapping and profiling.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .activation import build_activation
from .adapter import Adapter, ResidualAdapter
from .attention import Attend, SelfAttention, fused_attention
from .drop_path import build_drop_path
from .init import linear
from .linear import Origin
from .tokens import fold, unfold


@dataclass(frozen=True)
class LayerOptions:
    """What all layers of an expert have in common.

    Args:
        embed_dims: Channels C.
        num_heads: Attention heads.
        feedforward_channels: Hidden channels of the FFN.
        axis: Axis along which self-attention runs ('space' inside a frame).
        activation: Activation of the FFN.
        norm_eps: Epsilon of the layer norms.
        adapter_ratio: Hidden part of the adapters; None builds none.
        adapter_scale: Factor of the adapter beside the FFN.
        drop_path_unit: 'sample', or 'token' as the reference trains CLIP.
    """

    embed_dims: int
    num_heads: int
    feedforward_channels: int
    axis: str = 'all'
    activation: str = 'gelu'
    norm_eps: float = 1e-6
    adapter_ratio: float | None = 0.25
    adapter_scale: float = 0.5
    drop_path_unit: str = 'sample'


class AttentionBlock(nn.Module):
    """First half: norm, self-attention, serial adapter, residual.

    Args:
        options: What all layers share.
        drop_path_rate: Stochastic depth of the branch. The reference drops
            it for AST only; CLIP and VideoMAE keep 0.
    """

    def __init__(
        self, options: LayerOptions, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        dims = options.embed_dims
        self.axis = options.axis
        self.norm = nn.LayerNorm(dims, eps=options.norm_eps)
        self.attn = SelfAttention(dims, options.num_heads)
        self.adapter = (
            None
            if options.adapter_ratio is None
            else ResidualAdapter(dims, ratio=options.adapter_ratio)
        )
        self.drop_path = build_drop_path(
            drop_path_rate, options.drop_path_unit
        )

    def forward(
        self, tokens: Tensor, attend: Attend = fused_attention
    ) -> Tensor:
        """(B, T, P + N, C) -> the same shape."""
        _, steps, positions, _ = tokens.shape
        heads = self.attn.heads(fold(self.norm(tokens), self.axis), attend)
        heads = unfold(heads, self.axis, steps, positions)
        branch = self.attn.proj(heads)
        if self.adapter is not None:
            branch = self.adapter(branch, Origin(heads, self.attn.proj))
        return tokens + self.drop_path(branch)


class FeedForwardBlock(nn.Module):
    """Second half: norm, FFN and an adapter beside it, residual.

    Args:
        options: What all layers share.
        drop_path_rate: Stochastic depth of the adapter; the frozen FFN is
            never dropped.
    """

    def __init__(
        self, options: LayerOptions, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        dims, hidden = options.embed_dims, options.feedforward_channels
        self.norm = nn.LayerNorm(dims, eps=options.norm_eps)
        self.fc1 = linear(dims, hidden)
        self.act = build_activation(options.activation)
        self.fc2 = linear(hidden, dims)
        self.adapter = (
            None
            if options.adapter_ratio is None
            else Adapter(dims, ratio=options.adapter_ratio)
        )
        self.adapter_scale = options.adapter_scale
        self.drop_path = build_drop_path(
            drop_path_rate, options.drop_path_unit
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, P + N, C) -> the same shape."""
        normed = self.norm(tokens)
        out = tokens + self.fc2(self.act(self.fc1(normed)))
        if self.adapter is not None:
            update = self.adapter(normed, Origin(tokens, self.norm))
            out = torch.add(
                out, self.drop_path(update), alpha=self.adapter_scale
            )
        return out


class ExpertLayer(nn.Module):
    """Both halves of one layer; the expert calls them separately.

    Args:
        options: What all layers share.
        attn_drop_path_rate: See :class:`AttentionBlock`.
        ffn_drop_path_rate: See :class:`FeedForwardBlock`.
    """

    def __init__(
        self,
        options: LayerOptions,
        attn_drop_path_rate: float = 0.0,
        ffn_drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention = AttentionBlock(options, attn_drop_path_rate)
        self.ffn = FeedForwardBlock(options, ffn_drop_path_rate)
