# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The two blocks of a pre-norm transformer layer, and what they are made of.

Links between experts act *between* the attention block and the feed-forward
block of a layer, never inside one; each block has an adapter inside.  A block
is also the unit of activation checkpointing, FSDP wrapping and profiling.

Tokens are (B, T, P + N, C): batch, time steps, prefix tokens (class,
distillation) and patches of one step, channels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ca2st_mm.utils.errors import check_choice

AXES = ('time', 'space', 'all')
# softmax(q k) v of q, k and v, each (B, heads, length, dims), and optionally
# a bias of the logits, (B, heads, L, M).
AttentionFn = Callable[..., Tensor]
# Softmax scale dims ** -0.5, no dropout; keeps no weights.
fused_attention: AttentionFn = F.scaled_dot_product_attention
BOTH_FUSED = (fused_attention, fused_attention)  # of both ends of a link


def linear(in_dims: int, out_dims: int) -> nn.Linear:
    """A linear layer, weight truncated normal, bias zero."""
    layer = nn.Linear(in_dims, out_dims)
    nn.init.trunc_normal_(layer.weight, std=0.02)  # as the authors' code
    nn.init.zeros_(layer.bias)
    return layer


def zero_linear(in_dims: int, out_dims: int) -> nn.Linear:
    """A linear layer that starts as the constant zero."""
    layer = nn.Linear(in_dims, out_dims)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def to_sequences(tokens: Tensor, axis: str) -> Tensor:
    """Lay tokens out as sequences that run along one axis.

    Args:
        tokens: (B, T, N, C).
        axis: 'time' gives (B * N, T, C), 'space' (B * T, N, C) and 'all'
            (B, T * N, C).

    Raises:
        ValueError: If ``axis`` is unknown.

    Example:
        >>> import torch
        >>> to_sequences(torch.zeros(2, 8, 196, 768), 'time').shape
        torch.Size([392, 8, 768])
    """
    check_choice('axis', axis, AXES)
    batch, steps, num_tokens, dims = tokens.shape
    if axis == 'time':
        tokens = tokens.transpose(1, 2)  # (B, N, T, C)
        return tokens.reshape(batch * num_tokens, steps, dims)
    if axis == 'space':
        return tokens.reshape(batch * steps, num_tokens, dims)
    return tokens.reshape(batch, steps * num_tokens, dims)


def from_sequences(sequences: Tensor, axis: str, like: Tensor) -> Tensor:
    """Undo :func:`to_sequences`.

    Args:
        sequences: What it returned, or as many of other channels.
        axis: Its axis.
        like: The tokens (B, T, N, ...) it was given.

    Returns:
        (B, T, N, C).
    """
    (batch, steps, num_tokens), dims = like.shape[:3], sequences.shape[-1]
    if axis == 'time':
        return sequences.reshape(batch, num_tokens, steps, dims).transpose(
            1, 2
        )
    return sequences.reshape(batch, steps, num_tokens, dims)


class QuickGELU(nn.Module):
    """CLIP's GELU: ``x * sigmoid(1.702 * x)``.

    Computed as the SiLU of the scaled input, scaled back: autograd keeps one
    tensor instead of two.

    Example:
        >>> import torch
        >>> QuickGELU()(torch.tensor([0.0, 10.0]))
        tensor([ 0., 10.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply element by element; any shape."""
        # In place: SiLU's gradient needs its input only.
        return F.silu(1.702 * x).div_(1.702)


def build_activation(name: str) -> nn.Module:
    """Build the activation 'gelu' or 'quick_gelu'."""
    check_choice('activation', name, ('gelu', 'quick_gelu'))
    return nn.GELU() if name == 'gelu' else QuickGELU()


class DropPath(nn.Module):
    """Stochastic depth: drop a residual branch and rescale what is kept.

    Args:
        rate: Probability of dropping, in [0, 1).
        unit: 'sample' drops the branch of whole samples; 'token' the same
            tokens of all samples and steps, as the authors' code does, which
            only an exact retraining needs.

    Raises:
        ValueError: If the rate or the unit is none of these.

    Example:
        >>> import torch
        >>> drop = DropPath(0.2).eval()
        >>> drop(torch.ones(2, 8, 196, 768)).mean().item()
        1.0
    """

    def __init__(self, rate: float = 0.0, unit: str = 'sample') -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f'a drop path rate lies in [0, 1), got {rate}')
        check_choice('drop_path_unit', unit, ('sample', 'token'))
        self.rate, self.unit = rate, unit

    def forward(self, branch: Tensor) -> Tensor:
        """Apply to a branch (B, T, N, C); the identity in eval mode."""
        if not self.training or self.rate == 0:
            return branch
        shape = (branch.shape[0], 1, 1, 1)
        if self.unit == 'token':
            shape = (1, 1, branch.shape[2], 1)
        mask = branch.new_empty(shape).bernoulli_(1 - self.rate)
        return branch * (mask / (1 - self.rate))

    def extra_repr(self) -> str:
        """The arguments, for printing."""
        return f'rate={self.rate}, unit={self.unit}'


def drop_path_rates(rate: float, num_layers: int) -> list[float]:
    """Rates that grow linearly from 0 in the first layer to ``rate``."""
    return [rate * i / max(num_layers - 1, 1) for i in range(num_layers)]


class Adapter(nn.Module):
    """A narrow two-layer MLP, by default the constant zero at the start.

    Args:
        in_dims: Channels of the input.
        out_dims: Channels of the output. Defaults to ``in_dims``.
        ratio: Hidden width / ``in_dims`` (the paper: 1/4).
        activation: 'gelu' or 'quick_gelu'.
        zero_init: Whether the second layer starts at zero.

    Example:
        >>> import torch
        >>> Adapter(768)(torch.randn(2, 768)).abs().max().item()
        0.0
    """

    def __init__(
        self,
        in_dims: int,
        out_dims: int | None = None,
        ratio: float = 0.25,
        activation: str = 'gelu',
        zero_init: bool = True,
    ) -> None:
        super().__init__()
        hidden_dims = int(in_dims * ratio)
        if hidden_dims < 1:
            raise ValueError(
                f'an adapter of ratio {ratio} on {in_dims} channels has no '
                'hidden channel; raise the ratio'
            )
        self.down = linear(in_dims, hidden_dims)
        self.act = build_activation(activation)
        last = zero_linear if zero_init else linear
        self.up = last(hidden_dims, out_dims or in_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_dims) to (..., out_dims)."""
        return self.up(self.act(self.down(x)))


class ResidualAdapter(Adapter):
    """An adapter that adds its input: the identity at the start."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_dims) to the same shape."""
        return x + super().forward(x)


class RecordingAttention:
    """Attention by an explicit softmax that records its weights.

    To be given as ``attend``.

    Gives the results of :func:`fused_attention` up to rounding, and takes
    memory for the weights of all heads.

    Args:
        head: The head to record; None for the mean over heads.
        axis: Axis of the sequences it will be given, to be recorded too.
    """

    def __init__(
        self, head: int | None = None, axis: str | None = None
    ) -> None:
        self.head, self.axis = head, axis
        self.weights: Tensor | None = None

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor:
        """(B, heads, L, d) and twice (B, heads, M, d) -> (B, heads, L, d).

        Records ``weights`` (B, L, M), float32; each row sums to one.
        """
        heads = query.shape[1]
        if self.head is not None and not 0 <= self.head < heads:
            raise ValueError(
                f'this attention has {heads} heads and none of index '
                f'{self.head}'
            )
        logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        if bias is not None:
            logits = logits + bias
        # The fused one keeps its softmax in float32, too.
        weights = logits.float().softmax(dim=-1)  # (B, heads, L, M)
        one = weights.mean(1) if self.head is None else weights[:, self.head]
        self.weights = one.detach()
        return weights.to(value.dtype) @ value


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, L, C) -> (B, heads, L, C / heads)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, L, C / heads) -> (B, L, C)."""
    return x.transpose(1, 2).flatten(2)


def check_heads(dims: int, num_heads: int) -> None:
    """Raise ``ValueError`` unless the heads split the channels evenly."""
    if dims % num_heads:
        raise ValueError(f'{num_heads} heads do not divide {dims} channels')


class SelfAttention(nn.Module):
    """Multi-head self-attention with one projection for q, k and v.

    A ViT without a key bias (VideoMAE) is the case of a key bias of zero: it
    adds the same number to all logits of a query and cannot change the result.

    Args:
        embed_dims: Channels C.
        num_heads: Heads; must divide ``embed_dims``.

    Raises:
        ValueError: If the heads do not divide the channels.

    Example:
        >>> import torch
        >>> SelfAttention(768, num_heads=12)(torch.randn(2, 197, 768)).shape
        torch.Size([2, 197, 768])
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        check_heads(embed_dims, num_heads)
        self.num_heads = num_heads
        self.qkv = linear(embed_dims, 3 * embed_dims)
        self.proj = linear(embed_dims, embed_dims)

    def forward(
        self, x: Tensor, attend: AttentionFn = fused_attention
    ) -> Tensor:
        """Attend within each sequence: (B, L, C) -> (B, L, C)."""
        q, k, v = (
            split_heads(part, self.num_heads)  # (B, heads, L, C / heads)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        return self.proj(merge_heads(attend(q, k, v)))


class CrossAttention(nn.Module):
    """Multi-head attention from one sequence to another of equal width.

    Args:
        embed_dims: Channels C of both sequences.
        num_heads: Heads; must divide ``embed_dims``.

    Raises:
        ValueError: If the heads do not divide the channels.

    Example:
        >>> import torch
        >>> frames, audio = torch.randn(2, 8, 384), torch.randn(2, 12, 384)
        >>> CrossAttention(384, num_heads=12)(frames, audio).shape
        torch.Size([2, 8, 384])
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        check_heads(embed_dims, num_heads)
        self.num_heads = num_heads
        self.q = linear(embed_dims, embed_dims)
        self.kv = linear(embed_dims, 2 * embed_dims)
        self.proj = linear(embed_dims, embed_dims)

    def forward(
        self,
        query: Tensor,
        context: Tensor,
        attend: AttentionFn = fused_attention,
    ) -> Tensor:
        """Queries (B, L, C), keys and values of (B, M, C): -> (B, L, C)."""
        q = split_heads(self.q(query), self.num_heads)
        k, v = (
            split_heads(part, self.num_heads)
            for part in self.kv(context).chunk(2, dim=-1)
        )
        return self.proj(merge_heads(attend(q, k, v)))


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
        adapter_ratio: Hidden width of the adapters / C; None builds none.
        drop_path_unit: 'sample', or 'token' as the authors' code trains CLIP.
    """

    embed_dims: int
    num_heads: int
    feedforward_channels: int
    axis: str = 'all'
    activation: str = 'gelu'
    norm_eps: float = 1e-6
    adapter_ratio: float | None = 0.25
    drop_path_unit: str = 'sample'


class AttentionBlock(nn.Module):
    """Norm, self-attention, serial adapter, residual (CAST, section 3.1).

    Tokens (B, T, P + N, C) keep their shape; P prefix tokens, such as the
    class token, come before the N patches of each of T time steps.

    Args:
        options: What all layers share.
        drop_path_rate: Stochastic depth of the branch. The authors' code
            drops it for AST only; CLIP and VideoMAE keep 0.

    Example:
        >>> import torch
        >>> options = LayerOptions(96, 12, feedforward_channels=384)
        >>> AttentionBlock(options)(torch.randn(1, 8, 49, 96)).shape
        torch.Size([1, 8, 49, 96])
    """

    def __init__(
        self, options: LayerOptions, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        dims, ratio = options.embed_dims, options.adapter_ratio
        self.axis = options.axis
        self.norm = nn.LayerNorm(dims, eps=options.norm_eps)
        self.attn = SelfAttention(dims, options.num_heads)
        self.adapter = (
            None if ratio is None else ResidualAdapter(dims, ratio=ratio)
        )
        self.drop_path = DropPath(drop_path_rate, options.drop_path_unit)

    def forward(
        self, tokens: Tensor, attend: AttentionFn = fused_attention
    ) -> Tensor:
        """(B, T, P + N, C) -> the same shape."""
        sequences = to_sequences(self.norm(tokens), self.axis)
        sequences = self.attn(sequences, attend)
        branch = from_sequences(sequences, self.axis, tokens)
        if self.adapter is not None:
            branch = self.adapter(branch)
        return tokens + self.drop_path(branch)


class FeedForwardBlock(nn.Module):
    """Norm, FFN and an adapter parallel to it, residual (CAST, section 3.1).

    Tokens (..., C) keep their shape.

    Args:
        options: What all layers share.
        drop_path_rate: Stochastic depth of the adapter; the frozen FFN is
            never dropped.

    Example:
        >>> import torch
        >>> options = LayerOptions(96, 12, feedforward_channels=384)
        >>> FeedForwardBlock(options)(torch.randn(1, 8, 49, 96)).shape
        torch.Size([1, 8, 49, 96])
    """

    adapter_scale = 0.5  # as the authors' code

    def __init__(
        self, options: LayerOptions, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        dims, ratio = options.embed_dims, options.adapter_ratio
        self.norm = nn.LayerNorm(dims, eps=options.norm_eps)
        self.fc1 = linear(dims, options.feedforward_channels)
        self.act = build_activation(options.activation)
        self.fc2 = linear(options.feedforward_channels, dims)
        self.adapter = self.drop_path = None
        if ratio is not None:
            self.adapter = Adapter(dims, ratio=ratio)
            self.drop_path = DropPath(drop_path_rate, options.drop_path_unit)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, P + N, C) -> the same shape."""
        normed = self.norm(tokens)
        out = tokens + self.fc2(self.act(self.fc1(normed)))
        if self.adapter is not None:
            branch = self.drop_path(self.adapter(normed))
            out = torch.add(out, branch, alpha=self.adapter_scale)
        return out


def expert_layer(
    options: LayerOptions,
    attn_drop_path_rate: float = 0.0,
    ffn_drop_path_rate: float = 0.0,
) -> nn.ModuleDict:
    """Both blocks of one layer; the expert calls them separately."""
    return nn.ModuleDict(
        dict(
            attention=AttentionBlock(options, attn_drop_path_rate),
            ffn=FeedForwardBlock(options, ffn_drop_path_rate),
        )
    )
