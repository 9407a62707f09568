# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Adapters: two linear layers around an activation."""

from torch import Tensor, nn

from .activation import build_activation
from .init import linear, zero_linear
from .linear import Origin, lean_linear


class Adapter(nn.Module):
    """A small bottleneck MLP, by default the constant zero at the start.

    Args:
        in_dims: Channels of the input.
        out_dims: Channels of the output. Defaults to ``in_dims``.
        ratio: Hidden channels as a part of ``in_dims`` (the paper: 1/4).
        activation: Name of the activation.
        zero_init: Whether the second layer starts at zero.
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
        out_dims = out_dims or in_dims
        hidden_dims = int(in_dims * ratio)
        if hidden_dims < 1:
            raise ValueError(
                f'an adapter of ratio {ratio} on {in_dims} channels has no '
                'hidden channel; raise the ratio'
            )
        self.down = linear(in_dims, hidden_dims)
        self.act = build_activation(activation)
        last = zero_linear if zero_init else linear
        self.up = last(hidden_dims, out_dims)

    def forward(self, x: Tensor, origin: Origin | None = None) -> Tensor:
        """Map (..., in_dims) to (..., out_dims).

        Args:
            x: (..., in_dims).
            origin: What ``x`` was made from, to be kept in its stead.
        """
        hidden = lean_linear(self.down, x, *origin) if origin else self.down(x)
        return lean_linear(self.up, self.act(hidden), hidden, self.act)


class ResidualAdapter(Adapter):
    """An adapter that adds its input: the identity at the start."""

    def forward(self, x: Tensor, origin: Origin | None = None) -> Tensor:
        """Map (..., in_dims) to the same shape."""
        return x + super().forward(x, origin)
