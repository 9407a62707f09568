# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Activations by name."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SLOPE = 1.702
# Elements of a slice that stays in the cache of a processor.
SLICE = 2**18


def _quick_gelu(x: Tensor) -> Tensor:
    return F.silu(SLOPE * x, inplace=True).div_(SLOPE)


class _QuickGELU(torch.autograd.Function):
    """Keeps the input alone.

    On a CPU fresh memory for a large tensor costs more time than this
    arithmetic does, so that the scaled input is made slice by slice.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _quick_gelu(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        size = SLICE if x.device.type == 'cpu' else max(x.numel(), 1)
        slices = (t.reshape(-1).split(size) for t in (grad, x, out))
        for grad_slice, x_slice, out_slice in zip(*slices, strict=True):
            torch.ops.aten.silu_backward.grad_input(
                grad_slice, SLOPE * x_slice, grad_input=out_slice
            )
        return out


class QuickGELU(nn.Module):
    """CLIP's GELU: ``x * sigmoid(1.702 * x)``.

    Computed as the SiLU of the scaled input, scaled back: one kernel.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply element by element; any shape."""
        if torch.compiler.is_compiling():
            return F.silu(SLOPE * x) / SLOPE
        if torch.is_grad_enabled() and not x.is_meta:
            return _QuickGELU.apply(x)
        return _quick_gelu(x)


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
