# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Links that the papers compare B-CA with (CAST, Table 1b and 1c)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ca2st_mm.registry import MODELS

from ..layers.tokens import TokenSpec
from ..layers.transformer import (
    BOTH_FUSED,
    Adapter,
    AttentionFn,
    DropPath,
    zero_linear,
)
from .bottleneck_cross_attention import GridCrossAttention

SIDES = (('a_from_b', 0, 1), ('b_from_a', 1, 0))


class PatchLink(nn.Module):
    """A link that updates patches only; prefix tokens stay as they are.

    What every link must do: :class:`~..backbones.links.Link`.

    Subclasses have two methods.  ``build_direction(side, query, context, axis,
    **options)`` returns the modules of one direction, whose result starts at
    zero: ``side`` is 0 for the update of a and 1 for that of b, ``query`` the
    ``TokenSpec`` of the expert that is updated, ``context`` that of the other,
    ``axis`` the entry of ``axes``.  ``read(parts, query, context, query_time,
    context_time, attend)`` calls these modules, with the arguments of
    :class:`GridCrossAttention`, and returns the update (B, T, N, C).

    Args:
        specs: Tokens of the two experts a and b.
        axes: How a attends to b, and b to a; None for one without update.
        drop_path_rate: Stochastic depth of the updates.
        drop_path_units: 'sample' or 'token' for the update of a and of b.
        **options: Of ``build_direction``.

    Raises:
        ValueError: If a direction does not fit the two experts.
    """

    def __init__(
        self,
        specs: tuple[TokenSpec, TokenSpec],
        axes: tuple[str | None, str | None],
        drop_path_rate: float = 0.0,
        drop_path_units: tuple[str, str] = ('sample', 'sample'),
        **options: Any,
    ) -> None:
        super().__init__()
        self.axes = tuple(axes)
        self.prefixes = [spec.num_prefix_tokens for spec in specs]
        self.directions, self.drop_paths = nn.ModuleDict(), nn.ModuleDict()
        for name, own, other in SIDES:
            if axes[own] is not None:
                self.directions[name] = self.build_direction(
                    own, specs[own], specs[other], axes[own], **options
                )
                self.drop_paths[name] = DropPath(
                    drop_path_rate, drop_path_units[own]
                )

    def forward(
        self,
        a: Tensor,
        b: Tensor,
        time_a: Tensor | None = None,
        time_b: Tensor | None = None,
        update_patches: tuple[bool, bool] = (True, True),
        attend: tuple[AttentionFn, AttentionFn] = BOTH_FUSED,
    ) -> tuple[Tensor | None, Tensor | None]:
        """As :meth:`BottleneckCrossAttention.forward`."""
        prefix_a, prefix_b = self.prefixes
        patches = a[:, :, prefix_a:], b[:, :, prefix_b:]
        times = time_a, time_b
        updates: list[Tensor | None] = [None, None]
        for name, own, other in SIDES:
            if name not in self.directions:
                continue
            query, context = patches[own], patches[other]
            if not update_patches[own]:
                query, context = query[:, :, :0], context[:, :, :0]
            update = self.read(
                self.directions[name],
                query,
                context,
                times[own],
                times[other],
                attend[own],
            )
            update = self.drop_paths[name](update)
            updates[own] = F.pad(update, (0, 0, self.prefixes[own], 0))
        return tuple(updates)


@MODELS.register_module()
class LateralLink(PatchLink):
    """Adds a linear map of the same patch at the same time (Table 1b).

    Args:
        specs: Tokens of the two experts, of one grid.
        axes: 'same' for an expert that is updated, or None.
        **options: See :class:`PatchLink`.

    Raises:
        ValueError: If the grids differ.

    Example:
        >>> import torch
        >>> clip = TokenSpec(768, 8, 196, num_prefix_tokens=1)
        >>> link = LateralLink((clip, TokenSpec(768, 8, 196)),
        ...                    axes=('same', 'same'))
        >>> a, b = torch.randn(1, 8, 197, 768), torch.randn(1, 8, 196, 768)
        >>> [update.shape[2] for update in link(a, b)]
        [197, 196]
    """

    def build_direction(
        self, side: int, query: TokenSpec, context: TokenSpec, axis: str
    ) -> nn.ModuleDict:
        """A linear map between the widths."""
        grids = [(s.num_steps, s.num_patches) for s in (query, context)]
        if axis != 'same' or grids[0] != grids[1]:
            raise ValueError(
                "LateralLink has the axes 'same' or None, of experts with "
                f'equally many steps and patches; got {axis!r} and '
                f'{grids[0]} and {grids[1]}'
            )
        return nn.ModuleDict(
            dict(linear=zero_linear(context.embed_dims, query.embed_dims))
        )

    def read(
        self, parts: nn.ModuleDict, query: Tensor, context: Tensor, *_: Any
    ) -> Tensor:
        """(B, T, N, C of the context) -> (B, T, N, C of the query)."""
        return parts['linear'](context)


@MODELS.register_module()
class CrossAttentionLink(PatchLink):
    """Cross-attention at full width, with or without an adapter (Table 1c).

    Patches of either side are normed, attention is along the axis as in
    :class:`BottleneckCrossAttention`, and its result is the update, or goes
    through an adapter first.

    Args:
        specs: Tokens of the two experts, of one width.
        axes: Axis along which a attends to b, and b to a; or None.
        num_heads: Attention heads.
        positions: For a and for b, the ``position`` of
            :class:`GridCrossAttention`.
        adapter_ratio: Hidden width of the adapter that follows the attention
            / C; None for none.
        **options: See :class:`PatchLink`.

    Raises:
        ValueError: If axes, grids, widths or names do not fit.

    Example:
        >>> import torch
        >>> spec = TokenSpec(768, num_steps=8, num_patches=196)
        >>> link = CrossAttentionLink((spec, spec), ('time', 'space'),
        ...                           adapter_ratio=0.25)
        >>> a, b = torch.randn(2, 1, 8, 196, 768)
        >>> [update.shape[2] for update in link(a, b)]
        [196, 196]
    """

    def build_direction(
        self,
        side: int,
        query: TokenSpec,
        context: TokenSpec,
        axis: str,
        num_heads: int = 12,
        positions: tuple[Any, Any] = ('learned', 'learned'),
        adapter_ratio: float | None = None,
    ) -> nn.ModuleDict:
        """Norms, attention and adapter of one direction."""
        if query.embed_dims != context.embed_dims:
            raise ValueError(
                'CrossAttentionLink joins experts of one width, got '
                f'{query.embed_dims} and {context.embed_dims}; '
                'BottleneckCrossAttention joins any'
            )
        dims = query.embed_dims
        attention = GridCrossAttention(
            query, context, axis, dims, num_heads, positions[side]
        )
        adapter: nn.Module = nn.Identity()
        if adapter_ratio is None:
            attention.attn.proj = zero_linear(dims, dims)
        else:
            adapter = Adapter(dims, ratio=adapter_ratio)
        return nn.ModuleDict(
            dict(
                query_norm=nn.LayerNorm(dims, eps=1e-6),
                context_norm=nn.LayerNorm(dims, eps=1e-6),
                attention=attention,
                adapter=adapter,
            )
        )

    def read(
        self,
        parts: nn.ModuleDict,
        query: Tensor,
        context: Tensor,
        *options: Any,
    ) -> Tensor:
        """(B, Tq, Nq, C), (B, Tc, Nc, C) -> (B, Tq, Nq, C)."""
        query = parts['query_norm'](query)
        context = parts['context_norm'](context)
        return parts['adapter'](parts['attention'](query, context, *options))


@MODELS.register_module()
class AdapterLink(nn.Module):
    """No exchange: an adapter of each expert in the place of a link.

    The paper's model without cross-attention (Table 1c, identity) has more
    parameters than experts with their usual adapters.  Two of half their
    hidden width make the difference: this is how we read its 18.1 M.  Like
    any link it is there only where both experts are.

    Args:
        specs: Tokens of the two experts a and b.
        axes: 'self' for an expert with an adapter, or None.
        ratio: Hidden width / channels.
        drop_path_rate: Stochastic depth of the updates.
        drop_path_units: 'sample' or 'token' for the update of a and of b.

    Raises:
        ValueError: If an axis is another word.

    Example:
        >>> import torch
        >>> spec = TokenSpec(768, num_steps=8, num_patches=196)
        >>> link = AdapterLink((spec, spec), axes=('self', 'self'))
        >>> a, b = torch.randn(2, 1, 8, 196, 768)
        >>> [bool(update.any()) for update in link(a, b)]
        [False, False]
    """

    def __init__(
        self,
        specs: tuple[TokenSpec, TokenSpec],
        axes: tuple[str | None, str | None],
        ratio: float = 0.125,
        drop_path_rate: float = 0.0,
        drop_path_units: tuple[str, str] = ('sample', 'sample'),
    ) -> None:
        super().__init__()
        self.axes = tuple(axes)
        if wrong := set(axes) - {'self', None}:
            raise ValueError(
                f"AdapterLink has the axes 'self' or None, got {wrong.pop()!r}"
            )
        self.prefixes = [spec.num_prefix_tokens for spec in specs]
        self.adapters = nn.ModuleDict()
        for name, spec, axis, unit in zip(
            'ab', specs, axes, drop_path_units, strict=True
        ):
            if axis is not None:
                self.adapters[name] = nn.Sequential(
                    Adapter(spec.embed_dims, ratio=ratio),
                    DropPath(drop_path_rate, unit),
                )

    def forward(
        self,
        a: Tensor,
        b: Tensor,
        time_a: Tensor | None = None,
        time_b: Tensor | None = None,
        update_patches: tuple[bool, bool] = (True, True),
        attend: tuple[AttentionFn, AttentionFn] = BOTH_FUSED,
    ) -> tuple[Tensor | None, Tensor | None]:
        """As :meth:`BottleneckCrossAttention.forward`."""
        updates = []
        for name, tokens, prefix, needed in zip(
            'ab', (a, b), self.prefixes, update_patches, strict=True
        ):
            own = tokens if needed else tokens[:, :, :prefix]
            adapted = name in self.adapters
            updates.append(self.adapters[name](own) if adapted else None)
        return tuple(updates)
