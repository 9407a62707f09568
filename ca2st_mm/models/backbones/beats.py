# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The audio expert BEATs: norms after the sums, gated relative positions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ca2st_mm.registry import MODELS

from ..layers.tokens import TokenSpec
from ..layers.transformer import (
    AttentionBlock,
    AttentionFn,
    FeedForwardBlock,
    LayerOptions,
    SelfAttention,
    drop_path_rates,
    from_sequences,
    fused_attention,
    linear,
    split_heads,
    to_sequences,
)
from .expert import VIT_SIZES, TransformerExpert, select_arch

ARCHS = dict(
    base=dict(
        VIT_SIZES['base'],
        patch_size=16,
        patch_dims=512,
        conv_size=128,
        conv_groups=16,
        num_buckets=320,
        max_distance=800,
        deep_norm=True,
    )
)
# Entries of a published file that have no alternative here, and that its
# tensors do not tell.
FIXED = dict(layer_norm_first=False, activation_fn='gelu')


def position_buckets(
    length: int, num_buckets: int, max_distance: int
) -> Tensor:
    """Bucket of the distance from every token to every other, (L, L).

    Half of the buckets are for tokens behind the query.  Of each half, the
    first half holds one distance each and the rest grow logarithmically up to
    ``max_distance``; what is farther shares the last.
    """
    index = torch.arange(length)
    offset = index[None] - index[:, None]  # key minus query
    side, single = num_buckets // 2, num_buckets // 4
    distance = offset.abs()
    growth = torch.log(distance.clamp(min=1) / single)
    growth = growth / math.log(max_distance / single) * (side - single)
    far = (single + growth.long()).clamp(max=side - 1)
    return side * (offset > 0) + torch.where(distance < single, distance, far)


class GatedSelfAttention(SelfAttention):
    """Self-attention that weighs a bias of positions by each query.

    Args:
        embed_dims: Channels C.
        num_heads: Heads; must divide ``embed_dims``.
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__(embed_dims, num_heads)
        self.gate = nn.Linear(embed_dims // num_heads, 8)
        self.gate_scale = nn.Parameter(torch.ones(1, num_heads, 1, 1))

    def forward(
        self, x: Tensor, bias: Tensor, attend: AttentionFn = fused_attention
    ) -> Tensor:
        """Attend within sequences (B, L, C); bias is (heads, L, L)."""
        q, k, v = (
            split_heads(part, self.num_heads)  # (B, heads, L, C / heads)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        gates = self.gate(q).unflatten(-1, (2, 4)).sum(-1).sigmoid()
        update, reset = gates.chunk(2, dim=-1)  # (B, heads, L, 1)
        weight = 2 + update * (self.gate_scale * reset - 1)
        read = attend(q, k, v, weight * bias)
        # Not a view: kernels with a bias differ in the layout of the result,
        # which the export to ONNX would take for granted.
        return self.proj(torch.cat(read.unbind(1), dim=-1))


class PostNormAttentionBlock(AttentionBlock):
    """Attention, serial adapter, sum with the scaled input, norm.

    Args:
        options: What all layers share.
        alpha: Factor of the input in the sum.
    """

    def __init__(self, options: LayerOptions, alpha: float) -> None:
        super().__init__(options)
        self.alpha = alpha
        self.attn = GatedSelfAttention(options.embed_dims, options.num_heads)

    def forward(
        self,
        tokens: Tensor,
        bias: Tensor,
        attend: AttentionFn = fused_attention,
    ) -> Tensor:
        """(B, T, N, C) and a bias (heads, T * N, T * N) -> (B, T, N, C)."""
        branch = self.attn(to_sequences(tokens, 'all'), bias, attend)
        branch = from_sequences(branch, 'all', tokens)
        if self.adapter is not None:
            branch = self.adapter(branch)
        return self.norm(self.alpha * tokens + branch)


class PostNormFeedForwardBlock(FeedForwardBlock):
    """FFN and an adapter parallel to it, sum with the scaled input, norm.

    Args:
        options: What all layers share.
        alpha: Factor of the input in the sum.
        drop_path_rate: Stochastic depth of the adapter.
    """

    def __init__(
        self, options: LayerOptions, alpha: float, drop_path_rate: float
    ) -> None:
        super().__init__(options, drop_path_rate)
        self.alpha = alpha

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, N, C) -> the same shape."""
        out = self.alpha * tokens + self.fc2(self.act(self.fc1(tokens)))
        if self.adapter is not None:
            adapted = self.drop_path(self.adapter(tokens))
            out = out + self.adapter_scale * adapted
        return self.norm(out)


@MODELS.register_module()
class BEATsExpert(TransformerExpert):
    """BEATs over patches of a log-mel spectrogram.

    Tokens are the patches, a time step for each column of them (T = 62 for
    998 frames, 10 s) with N = 8 rows of mel bins; no class token.  A
    convolution over the sequence and, in every attention, a bias by distance
    give positions.  The feature is the mean of all tokens.  Feed it with
    ``BEATsSpectrogram``, normalised by mean 15.41663 and standard deviation
    2 * 6.55582 in the data preprocessor.

    Source: Chen et al., BEATs, ICML 2023.

    Args:
        arch: 'base' or a dict that replaces entries of 'base'; the file of
            published weights must say the same.
        spec_size: Spectrogram frames and mel bins.
        adapter_ratio: Hidden width of the adapters / C; None builds none.
        frozen_parts: Parts that get no gradient, of embed, layers, adapters
            and norm (empty: BEATs has no final norm).
        drop_path_rate: Stochastic depth of the FFN adapter, last layer.
        init_cfg: Pretrained weights; see :class:`TransformerExpert`.

    Raises:
        ValueError: If the spectrogram is smaller than a patch.

    Example:
        >>> import torch
        >>> size = dict(embed_dims=16, num_layers=2, num_heads=2,
        ...             feedforward_channels=32, patch_dims=8, conv_groups=4)
        >>> expert = BEATsExpert(size, spec_size=(98, 32))
        >>> expert.embed(torch.zeros(1, 1, 98, 32)).shape
        torch.Size([1, 6, 2, 16])
    """

    weights_model = 'beats'

    def __init__(
        self,
        arch: str | dict = 'base',
        spec_size: tuple[int, int] = (998, 128),
        adapter_ratio: float | None = 0.25,
        frozen_parts: Sequence[str] = ('embed', 'layers'),
        drop_path_rate: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.arch = arch = select_arch(arch, ARCHS)
        dims, patch = arch['embed_dims'], arch['patch_size']
        if min(spec_size) < patch:
            raise ValueError(
                f'a spectrogram of {spec_size} (frames, mels) is smaller '
                f'than a patch of {patch}'
            )
        self.input_shape = (1, *spec_size)
        steps, rows = (size // patch for size in spec_size)
        self.token_spec = TokenSpec(dims, steps, rows)
        self.num_layers, self.axis = arch['num_layers'], 'all'
        pixels, size = arch['patch_dims'], arch['conv_size']
        self.patch_embed = nn.Conv2d(1, pixels, patch, patch, bias=False)
        self.patch_norm = nn.LayerNorm(pixels)
        self.patch_proj = linear(pixels, dims)
        conv = nn.Conv1d(
            dims, dims, size, padding=size // 2, groups=arch['conv_groups']
        )
        self.pos_conv = weight_norm(conv, dim=2)
        self.pre_norm = nn.LayerNorm(dims)
        self.position_bias = nn.Embedding(
            arch['num_buckets'], arch['num_heads']
        )
        buckets = position_buckets(
            steps * rows, arch['num_buckets'], arch['max_distance']
        )
        self.register_buffer('buckets', buckets, persistent=False)
        options = LayerOptions(
            dims,
            arch['num_heads'],
            arch['feedforward_channels'],
            norm_eps=1e-5,
            adapter_ratio=adapter_ratio,
        )
        alpha = (2 * self.num_layers) ** 0.25 if arch['deep_norm'] else 1.0
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                dict(
                    attention=PostNormAttentionBlock(options, alpha),
                    ffn=PostNormFeedForwardBlock(options, alpha, rate),
                )
            )
            for rate in drop_path_rates(drop_path_rate, self.num_layers)
        )
        self.norm = nn.Identity()
        self.freeze(frozen_parts)

    def check_published_config(self, config: Mapping[str, Any]) -> None:
        """Refuse a published file of another architecture.

        Args:
            config: The entry 'cfg' of the file.

        Raises:
            ValueError: Names the entries that differ.
        """
        own = {key: self.arch[key] for key in ('deep_norm', 'max_distance')}
        differ = [
            f'{name}={config[name]!r} (here {value!r})'
            for name, value in {**own, **FIXED}.items()
            if config.get(name, value) != value
        ]
        if differ:
            raise ValueError(f'its cfg says {", ".join(differ)}')

    def embed(self, inputs: Tensor) -> Tensor:
        """Spectrogram (B, 1, frames, mels) -> tokens (B, T, N, C).

        Raises:
            ValueError: If the spectrogram has another size.
        """
        if tuple(inputs.shape[1:]) != self.input_shape:
            raise ValueError(
                'BEATsExpert expects spectrograms (B, 1, frames, mels) with '
                f'spec_size={self.input_shape[1:]}, got {tuple(inputs.shape)}'
            )
        x = self.patch_embed(inputs).flatten(2).transpose(1, 2)  # (B, L, c)
        x = self.patch_proj(self.patch_norm(x))  # (B, L, C)
        # An even kernel gives one more than it was given.
        positions = self.pos_conv(x.transpose(1, 2))[..., : x.shape[1]]
        x = self.pre_norm(x + F.gelu(positions).transpose(1, 2))
        return x.unflatten(1, (self.token_spec.num_steps, -1))

    def context(self, tokens: Tensor) -> Tensor:
        """The bias of positions that all layers read, (heads, L, L)."""
        return self.position_bias(self.buckets).permute(2, 0, 1)

    def forward_attn(
        self,
        tokens: Tensor,
        layer: int,
        attend: AttentionFn = fused_attention,
        context: Tensor | None = None,
    ) -> Tensor:
        """Attention block; (B, T, N, C) -> same."""
        bias = self.context(tokens) if context is None else context
        return self.layers[layer]['attention'](tokens, bias, attend)

    def pool(self, tokens: Tensor) -> Tensor:
        """Mean of all tokens: (B, T, N, C) -> (B, C)."""
        return tokens.mean(dim=(1, 2))

    def token_times(self, times: Tensor) -> Tensor:
        """Window (B, 2), start and end -> spans of steps (B, T, 1, 2)."""
        start, end = times[:, :1], times[:, 1:]  # (B, 1), seconds
        frames = self.arch['patch_size'] * torch.arange(
            self.token_spec.num_steps + 1, device=times.device
        )
        edges = start + frames / self.input_shape[1] * (end - start)
        return torch.stack((edges[:, :-1], edges[:, 1:]), dim=-1)[:, :, None]
