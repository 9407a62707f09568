# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Bottleneck cross-attention (B-CA): the link between two experts.

From the top down: the link, one direction of it, positions, clock times.
Tokens are (B, T, P + N, C), P prefix tokens and N patches of each time step.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ca2st_mm.registry import MODELS
from ca2st_mm.utils.errors import UsageError, check_choice

from ..layers.tokens import TokenSpec
from ..layers.transformer import (
    AXES,
    BOTH_FUSED,
    AttentionFn,
    CrossAttention,
    DropPath,
    check_heads,
    from_sequences,
    fused_attention,
    linear,
    to_sequences,
    zero_linear,
)


@MODELS.register_module()
class BottleneckCrossAttention(nn.Module):
    """Two experts exchange through a narrow cross-attention, both ways.

    Registered as a neck because users look there, but built by
    :class:`MultiExpertBackbone` between the blocks of a layer, not by the
    recognizer.  What every link must do: :class:`~..backbones.links.Link`.

    The tokens of both experts are projected down to the bottleneck and
    normalised; the patches of each attend to the other's along its axis; GELU
    and the up-projection give the residual update.  Both directions use the
    tokens before either update.  Prefix tokens (class, distillation) neither
    attend nor are attended to: their update is the projection down and up
    alone.  (CAST, section 3.2; CA2ST, section 3.)

    With ``between=('spatial', 'temporal')``, ``axes=('time', 'space')`` is
    the papers' T2S and S2T: the spatial expert attends to the temporal one
    over time (T2S), the temporal to the spatial one over space (S2T).

    Args:
        specs: Tokens of the two experts a and b.
        axes: Axis along which a attends to b, and b to a: 'time', 'space',
            'all' or 'frames' (:class:`GridCrossAttention`); None for one
            that attends to nothing and gets no update.
        ratio: Width of the bottleneck, as a fraction of the width of the
            first expert of ``between``.
        num_heads: Attention heads.
        position: Position scheme: 'learned' (tables along the attended axis,
            both for 'all'), 'learned_space_time', 'timestamp', a list of
            these, or None.
        masked_context: Fraction of the other's patches that a, and b, cannot
            attend to; drawn anew in every call, of tests as well (the papers
            mask audio tokens so).
        drop_path_rate: Stochastic depth of the updates.
        drop_path_units: 'sample' or 'token' for the update of a and of b.
        bottlenecks: ``bottleneck_a`` or ``bottleneck_b`` of another link of
            the layer, for a and b, to share it; None for its own.

    Raises:
        ValueError: If axes, grids, widths or names do not fit.

    Example:
        >>> import torch
        >>> size = dict(embed_dims=768, num_steps=8, num_patches=196)
        >>> clip = TokenSpec(**size, num_prefix_tokens=1)
        >>> videomae = TokenSpec(**size)
        >>> link = BottleneckCrossAttention(
        ...     specs=(clip, videomae), axes=('time', 'space'))
        >>> a, b = torch.randn(1, 8, 197, 768), torch.randn(1, 8, 196, 768)
        >>> [update.shape[2] for update in link(a, b)]
        [197, 196]
    """

    def __init__(
        self,
        specs: tuple[TokenSpec, TokenSpec],
        axes: tuple[str | None, str | None],
        ratio: float = 0.5,
        num_heads: int = 12,
        position: str | list[str] | None = 'learned',
        masked_context: tuple[float, float] = (0.0, 0.0),
        drop_path_rate: float = 0.0,
        drop_path_units: tuple[str, str] = ('sample', 'sample'),
        bottlenecks: tuple[nn.ModuleDict | None, ...] = (None, None),
    ) -> None:
        super().__init__()
        (spec_a, spec_b), (axis_a, axis_b) = specs, axes
        width = int(spec_a.embed_dims * ratio)
        if width < 1:
            raise ValueError(
                f'ratio {ratio} leaves nothing of the {spec_a.embed_dims} '
                'channels of the first expert'
            )
        self.axes = tuple(axes)
        self.prefix_a, self.prefix_b = (s.num_prefix_tokens for s in specs)
        shared_a, shared_b = bottlenecks
        self.bottleneck_a = _bottleneck(
            shared_a, spec_a.embed_dims, width, axis_a is not None
        )
        self.bottleneck_b = _bottleneck(
            shared_b, spec_b.embed_dims, width, axis_b is not None
        )
        self.norm_a = nn.LayerNorm(width, eps=1e-6)
        self.norm_b = nn.LayerNorm(width, eps=1e-6)
        self.a_from_b = self.b_from_a = None
        unit_a, unit_b = drop_path_units
        masked_a, masked_b = masked_context
        if axis_a is not None:
            self.a_from_b = GridCrossAttention(
                spec_a, spec_b, axis_a, width, num_heads, position, masked_a
            )
            self.drop_path_a = DropPath(drop_path_rate, unit_a)
        if axis_b is not None:
            self.b_from_a = GridCrossAttention(
                spec_b, spec_a, axis_b, width, num_heads, position, masked_b
            )
            self.drop_path_b = DropPath(drop_path_rate, unit_b)

    def forward(
        self,
        a: Tensor,
        b: Tensor,
        time_a: Tensor | None = None,
        time_b: Tensor | None = None,
        update_patches: tuple[bool, bool] = (True, True),
        attend: tuple[AttentionFn, AttentionFn] = BOTH_FUSED,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Exchange between two experts.

        Args:
            a: Tokens of the first expert, (B, Ta, Pa + Na, Ca).
            b: Tokens of the second expert, (B, Tb, Pb + Nb, Cb).
            time_a: Time codes of a (of a :class:`TimeEncoder`),
                (B, Ta, Na or 1, width), or None.
            time_b: Time codes of b, likewise.
            update_patches: Whether the patches of a, and of b, need an
                update; in the last layer no feature may be made of them.
            attend: The attention function of a and of b.

        Returns:
            The residual update of each: shaped like ``a`` and ``b``, or like
            their prefix tokens (B, T, P, C) where that of the patches is not
            needed (all modules are called without patches, so that hooks
            fire and gradients are zero), or None where the axis is None.
        """
        if not any(update_patches):  # then no patch is needed at all
            a, b = a[:, :, : self.prefix_a], b[:, :, : self.prefix_b]
        a = self.norm_a(self.bottleneck_a['down'](a))  # (B, Ta, Pa+Na, width)
        b = self.norm_b(self.bottleneck_b['down'](b))  # (B, Tb, Pb+Nb, width)
        prefix_a, grid_a = _split(a, self.prefix_a)
        prefix_b, grid_b = _split(b, self.prefix_b)
        update_a = update_b = None
        if self.a_from_b is not None:
            query, context = grid_a, grid_b
            if not update_patches[0]:
                query, context = query[:, :, :0], context[:, :, :0]
            patches = self.a_from_b(query, context, time_a, time_b, attend[0])
            update_a = torch.cat((prefix_a, patches), dim=2)
            update_a = self.bottleneck_a['act'](update_a)
            update_a = self.drop_path_a(self.bottleneck_a['up'](update_a))
        if self.b_from_a is not None:
            query, context = grid_b, grid_a
            if not update_patches[1]:
                query, context = query[:, :, :0], context[:, :, :0]
            patches = self.b_from_a(query, context, time_b, time_a, attend[1])
            update_b = torch.cat((prefix_b, patches), dim=2)
            update_b = self.bottleneck_b['act'](update_b)
            update_b = self.drop_path_b(self.bottleneck_b['up'](update_b))
        return update_a, update_b


def _split(tokens: Tensor, num_prefix_tokens: int) -> tuple[Tensor, Tensor]:
    """Prefix tokens (B, T, P, C) and patches (B, T, N, C)."""
    # The gradients of two slices would be two tensors filled with zeros.
    sizes = num_prefix_tokens, tokens.shape[2] - num_prefix_tokens
    prefix, patches = tokens.split(sizes, dim=2)
    return prefix, patches


def _bottleneck(
    shared: nn.ModuleDict | None, dims: int, width: int, updates: bool
) -> nn.ModuleDict:
    """One expert's projections to the width of a link and, for updates, back.

    The up-projection starts at zero: a newly initialised link changes
    nothing.
    """
    parts = nn.ModuleDict() if shared is None else shared
    if 'down' not in parts:
        parts['down'] = linear(dims, width)
    if (known := parts['down'].out_features) != width:
        raise ValueError(
            'links that share a bottleneck need one width, got '
            f'{known} and {width}; give them one ratio'
        )
    if updates and 'up' not in parts:
        parts['act'] = nn.GELU()
        parts['up'] = zero_linear(width, dims)
    return parts


class GridCrossAttention(nn.Module):
    """One direction of a link: patches of one expert attend to another's.

    Args:
        query: Tokens of the expert that attends and is updated.
        context: Tokens of the expert that gives keys and values.
        axis: Axis of the attention: 'time' (to the same patch at all time
            steps), 'space' (to all patches of the same time step), 'all', or
            'frames' (every patch attends to each time step of the context
            separately; the result is the mean over these).
        embed_dims: Width of the bottleneck.
        num_heads: Attention heads.
        position: See :func:`build_positions`; or a dict of these for 'query'
            and 'context'.
        masked_context: Fraction of the context, in [0, 1), that is left out.

    Raises:
        ValueError: If the two grids do not match along the axis, the heads do
            not divide the channels, or an option is none of these.

    Example:
        >>> import torch
        >>> spec = TokenSpec(embed_dims=768, num_steps=8, num_patches=196)
        >>> attention = GridCrossAttention(
        ...     spec, spec, axis='time', embed_dims=384, num_heads=12,
        ...     position='learned')
        >>> a, b = torch.randn(2, 1, 8, 196, 384)
        >>> attention(a, b).shape
        torch.Size([1, 8, 196, 384])
    """

    def __init__(
        self,
        query: TokenSpec,
        context: TokenSpec,
        axis: str,
        embed_dims: int,
        num_heads: int,
        position: str | list[str] | dict | None,
        masked_context: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice('axis', axis, (*AXES, 'frames'))
        check_heads(embed_dims, num_heads)
        patches = query.num_patches, context.num_patches
        steps = query.num_steps, context.num_steps
        fits = dict(time=len(set(patches)) == 1, space=len(set(steps)) == 1)
        if not fits.get(axis, True):
            what, numbers = (
                ('patches', patches)
                if axis == 'time'
                else ('time steps', steps)
            )
            fitting = [f"'{name}'" for name in fits if fits[name]] + ["'all'"]
            raise UsageError(
                f"axis '{axis}' needs equally many {what}, got {numbers[0]} "
                f'and {numbers[1]}; {" and ".join(fitting)} would fit'
            )
        self.axis = axis
        if not isinstance(position, Mapping):
            position = dict(query=position, context=position)
        self.query_positions, self.context_positions = (
            build_positions(
                position.get(side), spec, axis, embed_dims, num_heads
            )
            for side, spec in (('query', query), ('context', context))
        )
        if not 0 <= masked_context < 1:
            raise ValueError(
                'masked_context, a fraction of tokens, lies in [0, 1), '
                f'got {masked_context}'
            )
        self.masked_context = masked_context
        self.attn = CrossAttention(embed_dims, num_heads)

    def forward(
        self,
        query: Tensor,
        context: Tensor,
        query_time: Tensor | None = None,
        context_time: Tensor | None = None,
        attend: AttentionFn = fused_attention,
    ) -> Tensor:
        """Attend to the context from every query.

        Args:
            query: Patches (B, Tq, Nq, C).
            context: Patches (B, Tc, Nc, C).
            query_time: Time codes (B, Tq, Nq or 1, C), or None.
            context_time: Time codes (B, Tc, Nc or 1, C), or None.
            attend: The attention function.

        Returns:
            (B, Tq, Nq, C).
        """
        for position in self.query_positions:
            query = position(query, query_time)
        for position in self.context_positions:
            context = position(context, context_time)
        if self.axis == 'frames':
            steps = context.shape[1]
            context = self._masked(to_sequences(context, 'space'))
            sequences = to_sequences(query, 'all').repeat_interleave(steps, 0)
            sequences = self.attn(sequences, context, attend)
            mean = sequences.unflatten(0, (-1, steps)).mean(dim=1)
            return from_sequences(mean, 'all', query)
        # The query may be (B, T, 0, C).  'all' gives (B, 0, C), which SDPA
        # accepts; 'time' would give batch 0, which it does not.
        axis = self.axis if query.shape[2] else 'all'
        context = self._masked(to_sequences(context, axis))
        sequences = self.attn(to_sequences(query, axis), context, attend)
        return from_sequences(sequences, axis, query)

    def _masked(self, context: Tensor) -> Tensor:
        """Leave out the same random tokens (B, M, C) of all sequences."""
        if not self.masked_context:
            return context
        count = context.shape[1]
        kept = max(int(count * (1 - self.masked_context)), min(count, 1))
        return context[:, torch.randperm(count, device=context.device)[:kept]]


def build_positions(
    names: str | list | tuple | None,
    spec: TokenSpec,
    axis: str,
    embed_dims: int,
    num_heads: int,
) -> nn.ModuleList:
    """Build the position schemes of one side of a link, in their order.

    Args:
        names: 'learned' (tables along the attended axis, both for 'all' and
            'frames'), 'learned_space_time', 'learned_joint' (one table over
            steps and patches), 'timestamp', a list of these, or None.
        spec: Tokens of the expert on this side.
        axis: The attended axis.
        embed_dims: Width of the bottleneck.
        num_heads: Heads of the bottleneck.

    Raises:
        ValueError: If a name is unknown.
    """
    both = ('space', 'time')
    tables = dict(
        learned=(axis,) if axis in both else both,
        learned_space_time=both,
        learned_joint=('joint',),
    )
    positions = nn.ModuleList()
    for name in [names] if isinstance(names, str) else names or ():
        check_choice('position', name, (*tables, 'timestamp'))
        if name == 'timestamp':
            positions.append(TimestampPosition())
        else:
            positions.append(
                LearnedPosition(spec, tables[name], embed_dims, num_heads)
            )
    return positions


class LearnedPosition(nn.Module):
    """Adds learned tables over patches, over steps, or over both jointly.

    Args:
        spec: Tokens of the expert on this side of the link.
        tables: Which of 'space', 'time' and 'joint'.
        embed_dims: Width of the bottleneck.
        num_heads: Heads of the bottleneck; sets the scale at the start.

    Example:
        >>> import torch
        >>> spec = TokenSpec(embed_dims=768, num_steps=8, num_patches=196)
        >>> position = LearnedPosition(spec, ('time',), 384, num_heads=12)
        >>> position(torch.zeros(1, 8, 196, 384), None).shape
        torch.Size([1, 8, 196, 384])
    """

    def __init__(
        self,
        spec: TokenSpec,
        tables: tuple[str, ...],
        embed_dims: int,
        num_heads: int,
    ) -> None:
        super().__init__()
        std = (embed_dims // num_heads) ** -0.5
        steps, patches = spec.num_steps, spec.num_patches
        sizes = dict(space=(patches,), time=(steps,), joint=(steps, patches))
        self.space_table = self.time_table = self.joint_table = None
        for name in tables:
            table = std * torch.randn(*sizes[name], embed_dims)
            setattr(self, f'{name}_table', nn.Parameter(table))

    def forward(self, patches: Tensor, time_code: Tensor | None) -> Tensor:
        """Add the tables to patches (B, T, N, C)."""
        if self.space_table is not None:
            patches = patches + self.space_table[: patches.shape[2]]
        if self.time_table is not None:
            patches = patches + self.time_table[:, None]
        if self.joint_table is not None:
            patches = patches + self.joint_table[:, : patches.shape[2]]
        return patches


class TimestampPosition(nn.Module):
    """Adds the code of each token's clock time (see :class:`TimeEncoder`).

    Example:
        >>> import torch
        >>> code = TimeEncoder(384)(torch.rand(1, 8, 1, 2))
        >>> TimestampPosition()(torch.zeros(1, 8, 196, 384), code).shape
        torch.Size([1, 8, 196, 384])
    """

    def forward(self, patches: Tensor, time_code: Tensor | None) -> Tensor:
        """Add codes (B, T, N or 1, C) to patches (B, T, N, C).

        Raises:
            ValueError: If there is no code, because the backbone has no time
                encoder for the stream of this expert.
        """
        if time_code is None:
            raise ValueError(
                "position 'timestamp' needs a time encoder for each stream "
                'of the link; add time_encoders=dict(imgs=..., audios=...) '
                'to the backbone'
            )
        return patches + time_code[:, :, : patches.shape[2]]


@MODELS.register_module()
class TimeEncoder(nn.Module):
    """Encodes (start, end) in seconds to the width of a bottleneck.

    Three linear layers with ReLU and a norm (CA2ST, time encoding).

    Args:
        embed_dims: Width of the bottleneck the codes are added in.

    Example:
        >>> import torch
        >>> TimeEncoder(384)(torch.rand(2, 8, 1, 2)).shape
        torch.Size([2, 8, 1, 384])
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for in_dims in (2, embed_dims, embed_dims):
            layers += [linear(in_dims, embed_dims), nn.ReLU()]
        self.mlp = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(embed_dims, eps=1e-5)

    def forward(self, spans: Tensor) -> Tensor:
        """Encode time spans (..., 2) in seconds as (..., C).

        Always in the precision of the weights: float16 and bfloat16 cannot
        resolve neighbouring frames 30 minutes into a file.
        """
        spans = spans.to(self.norm.weight.dtype)
        if spans.is_meta:  # which autocast does not know
            return self.norm(self.mlp(spans))
        with torch.autocast(spans.device.type, enabled=False):
            return self.norm(self.mlp(spans))
