# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A linear layer that keeps what its input was made from.

The gradient of a weight needs the input of the layer.  Where that input is a
cheap function (activation, norm, sum) of a tensor that autograd keeps anyway,
keeping it as well is waste: it is made again in the backward pass.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Recipe = Callable[[Tensor], Tensor]


class _LeanLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        source: Tensor,
        recipe: Recipe,
        weight: Tensor,
        bias: Tensor,
    ) -> Tensor:
        ctx.recipe, ctx.device = recipe, x.device.type
        ctx.autocast = torch.is_autocast_enabled(ctx.device)
        ctx.save_for_backward(source, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        source, weight = ctx.saved_tensors
        needs_x, _, _, needs_weight, needs_bias = ctx.needs_input_grad
        grad_x = grad_weight = grad_bias = None
        rows = grad.flatten(0, -2)
        if needs_x:
            grad_x = grad @ weight.to(grad.dtype)
        if needs_weight:
            with torch.autocast(ctx.device, grad.dtype, ctx.autocast):
                x = ctx.recipe(source)
            columns = x.to(grad.dtype).flatten(0, -2)
            grad_weight = (rows.t() @ columns).to(weight.dtype)
        if needs_bias:
            grad_bias = rows.sum(0, dtype=weight.dtype)
        return grad_x, None, None, grad_weight, grad_bias


def lean_linear(
    layer: nn.Linear, x: Tensor, source: Tensor, recipe: Recipe
) -> Tensor:
    """``layer(x)`` where autograd keeps ``source`` instead of ``x``.

    Args:
        layer: Has a bias.
        x: Input (..., C), equal to ``recipe(source)``; its gradient flows.
        source: What the input was made from; no gradient flows into it here.
        recipe: A cheap function without randomness.

    Returns:
        (..., out_features).
    """
    # A compiler chooses itself what to compute twice, and autocast does not
    # know tensors without values.
    plain = not torch.is_grad_enabled() or torch.compiler.is_compiling()
    if plain or x.is_meta:
        return layer(x)
    return _LeanLinear.apply(
        x, source.detach(), recipe, layer.weight, layer.bias
    )
