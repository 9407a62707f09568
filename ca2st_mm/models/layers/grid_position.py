# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Positions inside a bottleneck cross-attention, one class per scheme.

Every scheme has the constructor ``(spec, axis, embed_dims, num_heads)`` and
the forward ``(tokens, time_code) -> tokens``; a config names the class.
"""

import torch
from torch import Tensor, nn

from .init import linear
from .tokens import TokenSpec


def _table(length: int, embed_dims: int, num_heads: int) -> nn.Parameter:
    std = (embed_dims // num_heads) ** -0.5
    return nn.Parameter(std * torch.randn(length, embed_dims))


class LearnedSpaceTimePosition(nn.Module):
    """Learned tables over positions and over time steps, both added.

    Args:
        spec: Tokens of the expert on this side of the link.
        axis: Attended axis; not used by this scheme.
        embed_dims: Width of the bottleneck.
        num_heads: Heads of the bottleneck; sets the scale at the start.
    """

    tables = ('space', 'time')

    def __init__(
        self, spec: TokenSpec, axis: str, embed_dims: int, num_heads: int
    ) -> None:
        super().__init__()
        lengths = dict(space=spec.num_positions, time=spec.num_steps)
        for name in self.used_tables(axis):
            table = _table(lengths[name], embed_dims, num_heads)
            self.register_parameter(f'{name}_table', table)

    def used_tables(self, axis: str) -> tuple[str, ...]:
        """Names of the tables to build."""
        return self.tables

    def forward(self, tokens: Tensor, time_code: Tensor | None) -> Tensor:
        """Add the tables to tokens (B, T, N, C)."""
        if 'space_table' in self._parameters:
            tokens = tokens + self.space_table
        if 'time_table' in self._parameters:
            tokens = tokens + self.time_table[:, None]
        return tokens


class LearnedPosition(LearnedSpaceTimePosition):
    """Learned tables along the attended axis only (both for axis 'all')."""

    def used_tables(self, axis: str) -> tuple[str, ...]:
        """Names of the tables to build."""
        return self.tables if axis == 'all' else (axis,)


class TimestampPosition(nn.Module):
    """Adds the code of each token's clock time (see :class:`TimeEncoder`).

    Args:
        spec: Tokens of the expert on this side of the link; not used.
        axis: Attended axis; not used by this scheme.
        embed_dims: Width of the bottleneck; not used.
        num_heads: Heads of the bottleneck; not used.
    """

    def __init__(
        self, spec: TokenSpec, axis: str, embed_dims: int, num_heads: int
    ) -> None:
        super().__init__()

    def forward(self, tokens: Tensor, time_code: Tensor | None) -> Tensor:
        """Add codes (B, T, N or 1, C) to tokens (B, T, N, C).

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
        return tokens + time_code


POSITIONS = {
    'learned': LearnedPosition,
    'learned_space_time': LearnedSpaceTimePosition,
    'timestamp': TimestampPosition,
}


def build_positions(
    names: str | list | tuple | None,
    spec: TokenSpec,
    axis: str,
    embed_dims: int,
    num_heads: int,
) -> nn.ModuleList:
    """Build the named schemes; none for ``None``, several for a list.

    Raises:
        ValueError: If a name is unknown.
    """
    names = [] if names is None else names
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in POSITIONS:
            raise ValueError(
                f'position must be one of {sorted(POSITIONS)}, got {name!r}'
            )
    return nn.ModuleList(
        POSITIONS[name](spec, axis, embed_dims, num_heads) for name in names
    )


class TimeEncoder(nn.Module):
    """Encodes (start, end) in seconds to the width of a bottleneck.

    Three linear layers with ReLU and a norm (CA2ST, time encoding).

    Args:
        embed_dims: Width of the bottleneck the codes are added in.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        widths = (2, embed_dims, embed_dims, embed_dims)
        layers = []
        for in_dims, out_dims in zip(widths[:-1], widths[1:], strict=True):
            layers += [linear(in_dims, out_dims), nn.ReLU()]
        self.mlp = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(embed_dims, eps=1e-5)

    def forward(self, spans: Tensor) -> Tensor:
        """Encode time spans (..., 2) in seconds as (..., C).

        Always in the precision of the weights: half of it cannot tell two
        frames apart that are shown half an hour after zero.
        """
        spans = spans.to(self.norm.weight.dtype)
        if spans.is_meta:  # which autocast does not know
            return self.norm(self.mlp(spans))
        with torch.autocast(spans.device.type, enabled=False):
            return self.norm(self.mlp(spans))
