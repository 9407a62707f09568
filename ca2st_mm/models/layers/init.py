# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How our linear layers start (CA2ST reference, facts: section 4)."""

from torch import nn

from .linear import Linear


def linear(in_dims: int, out_dims: int) -> Linear:
    """A linear layer, weight truncated normal of std 0.02, bias zero."""
    layer = Linear(in_dims, out_dims)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer


def zero_linear(in_dims: int, out_dims: int) -> Linear:
    """A linear layer that starts as the constant zero."""
    layer = Linear(in_dims, out_dims)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
