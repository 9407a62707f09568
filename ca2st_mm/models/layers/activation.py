# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Activations by name."""

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 1.702


class QuickGELU(nn.Module):
    """CLIP's GELU: ``x * sigmoid(1.702 * x)``.

    Written as SiLU of the scaled input, which is one kernel and keeps one
    tensor for the backward pass instead of two.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply element by element; any shape."""
        return F.silu(SLOPE * x).div_(SLOPE)


ACTIVATIONS = {'gelu': nn.GELU, 'quick_gelu': QuickGELU}


def build_activation(name: str) -> nn.Module:
    """Build an activation by name.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in ACTIVATIONS:
        raise ValueError(
            f'activation must be one of {sorted(ACTIVATIONS)}, got {name!r}'
        )
    return ACTIVATIONS[name]()
