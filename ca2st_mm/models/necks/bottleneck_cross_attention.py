# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Bottleneck cross-attention (B-CA): the link between two experts."""

import torch
from torch import Tensor, nn

from ca2st_mm.registry import MODELS

from ..layers.attention import Attend, CrossAttention, fused_attention
from ..layers.bottleneck import Bottleneck
from ..layers.drop_path import build_drop_path
from ..layers.grid_position import build_positions
from ..layers.tokens import TokenSpec, check_axis, fold, unfold
from ..layers.zero_gradient import zero_gradient


def _check_grids(query: TokenSpec, context: TokenSpec, axis: str) -> None:
    check_axis(axis)
    if axis == 'time' and query.num_positions != context.num_positions:
        raise ValueError(
            "axis 'time' needs equally many positions, got "
            f'{query.num_positions} and {context.num_positions}'
        )
    if axis == 'space' and query.num_steps != context.num_steps:
        raise ValueError(
            "axis 'space' needs equally many time steps, got "
            f'{query.num_steps} and {context.num_steps}'
        )


class GridCrossAttention(nn.Module):
    """One direction of a link: queries of one grid, context of another.

    Args:
        query: Tokens of the expert that asks.
        context: Tokens of the expert that answers.
        axis: Axis along which the query looks at the context: 'time' (same
            position), 'space' (same time step) or 'all'.
        embed_dims: Width of the bottleneck.
        num_heads: Attention heads.
        position: Name of a position scheme, a list of them, or None.

    Raises:
        ValueError: If the two grids do not match along the axis.
    """

    def __init__(
        self,
        query: TokenSpec,
        context: TokenSpec,
        axis: str,
        embed_dims: int,
        num_heads: int,
        position: str | list[str] | None,
    ) -> None:
        super().__init__()
        _check_grids(query, context, axis)
        self.axis = axis
        self.query_positions, self.context_positions = (
            build_positions(position, spec, axis, embed_dims, num_heads)
            for spec in (query, context)
        )
        self.attn = CrossAttention(embed_dims, num_heads)

    def forward(
        self,
        query: Tensor,
        context: Tensor,
        query_time: Tensor | None,
        context_time: Tensor | None,
        attend: Attend = fused_attention,
    ) -> Tensor:
        """Answer every query position.

        Args:
            query: (B, Tq, Nq, C).
            context: (B, Tc, Nc, C).
            query_time: Time codes (B, Tq, Nq or 1, C), or None.
            context_time: Time codes (B, Tc, Nc or 1, C), or None.
            attend: How values are mixed.

        Returns:
            (B, Tq, Nq, C).
        """
        _, steps, positions, _ = query.shape
        for position in self.query_positions:
            query = position(query, query_time)
        for position in self.context_positions:
            context = position(context, context_time)
        sequences = (fold(x, self.axis) for x in (query, context))
        update = self.attn(*sequences, attend)
        return unfold(update, self.axis, steps, positions)


@MODELS.register_module()
class BottleneckCrossAttention(nn.Module):
    """Two experts exchange through a narrow cross-attention, both ways.

    Registered as a neck because users look there, but built by
    :class:`MultiExpertBackbone` between the halves of a layer, not by the
    recognizer.

    Both sides go down to the bottleneck and a norm; each side's positions
    attend to the other's along its axis; GELU and the way up give the
    residual update.  Both directions read the state before either update.
    Extra tokens (class, distillation) neither ask nor answer: their update
    is the plain way down and up.  (CAST, section 3.2; CA2ST, section 3.)

    Args:
        specs: Tokens of the two experts a and b.
        axes: Axis along which a looks at b, and b at a.
        bottlenecks: The projections of a and b, of equal width.
        num_heads: Attention heads.
        position: Position scheme: 'learned' (tables along the attended axis,
            both for 'all'), 'learned_space_time', 'timestamp', a list of
            these, or None.
        drop_path_rate: Stochastic depth of the updates.
        drop_path_units: 'sample' or 'token' for the update of a and of b.

    Raises:
        ValueError: If axes, grids, widths or names do not fit.
    """

    prunable = True  # forward takes `patches`

    def __init__(
        self,
        specs: tuple[TokenSpec, TokenSpec],
        axes: tuple[str, str],
        bottlenecks: tuple[Bottleneck, Bottleneck],
        num_heads: int = 12,
        position: str | list[str] | None = 'learned',
        drop_path_rate: float = 0.0,
        drop_path_units: tuple[str, str] = ('sample', 'sample'),
    ) -> None:
        super().__init__()
        self.bottleneck_a, self.bottleneck_b = bottlenecks
        dims, dims_b = (bottle.bottleneck_dims for bottle in bottlenecks)
        if dims != dims_b:
            raise ValueError(
                f'both ends of a link need the same width, got {dims} and '
                f'{dims_b}'
            )
        self.axes = tuple(axes)
        spec_a, spec_b = specs
        self.extra_a = spec_a.num_extra_tokens
        self.extra_b = spec_b.num_extra_tokens
        self.norm_a = nn.LayerNorm(dims, eps=1e-6)
        self.norm_b = nn.LayerNorm(dims, eps=1e-6)
        self.a_from_b = GridCrossAttention(
            spec_a, spec_b, axes[0], dims, num_heads, position
        )
        self.b_from_a = GridCrossAttention(
            spec_b, spec_a, axes[1], dims, num_heads, position
        )
        unit_a, unit_b = drop_path_units
        self.drop_path_a = build_drop_path(drop_path_rate, unit_a)
        self.drop_path_b = build_drop_path(drop_path_rate, unit_b)

    def forward(
        self,
        a: Tensor,
        b: Tensor,
        time_a: Tensor | None = None,
        time_b: Tensor | None = None,
        patches: tuple[bool, bool] = (True, True),
        attend: tuple[Attend, Attend] = (fused_attention, fused_attention),
    ) -> tuple[Tensor, Tensor]:
        """Exchange between two experts.

        Args:
            a: Tokens of the first expert, (B, Ta, Pa + Na, Ca).
            b: Tokens of the second expert, (B, Tb, Pb + Nb, Cb).
            time_a: Time codes of a, (B, Ta, Na or 1, bottleneck), or None.
            time_b: Time codes of b, likewise.
            patches: Whether the update of the patches of a, and of b, is
                needed; in the last layer nothing may read it.
            attend: How values are mixed, for a and for b.

        Returns:
            The residual update of each, shaped like ``a`` and ``b``, or like
            their prefix tokens (B, T, P, C) where that of the patches is not
            needed.  Parameters that are then not used get gradients of zero.
        """
        a = self.norm_a(self.bottleneck_a.compress(a))
        b = self.norm_b(self.bottleneck_b.compress(b))
        extra_a, grid_a = a[:, :, : self.extra_a], a[:, :, self.extra_a :]
        extra_b, grid_b = b[:, :, : self.extra_b], b[:, :, self.extra_b :]
        if patches[0]:
            new_a = self.a_from_b(grid_a, grid_b, time_a, time_b, attend[0])
        else:
            new_a = zero_gradient(grid_a[:, :, :0], self.a_from_b.parameters())
        if patches[1]:
            new_b = self.b_from_a(grid_b, grid_a, time_b, time_a, attend[1])
        else:
            new_b = zero_gradient(grid_b[:, :, :0], self.b_from_a.parameters())
        update_a = torch.cat((extra_a, new_a), dim=2)
        update_b = torch.cat((extra_b, new_b), dim=2)
        return (
            self.drop_path_a(self.bottleneck_a.expand(update_a)),
            self.drop_path_b(self.bottleneck_b.expand(update_b)),
        )
