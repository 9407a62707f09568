# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Linear layers that multiply fast and keep little for the backward pass.

The gradient of a weight needs the input of the layer.  Where that input is a
cheap function (activation, norm, sum) of a tensor that autograd keeps anyway,
keeping it as well is waste: it is made again in the backward pass.  Where it
came out of another linear layer, the gradient is computed through that layer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .matmul import prefers_convolution, times_weight

Recipe = Callable[[Tensor], Tensor]


class Origin(NamedTuple):
    """What a tensor was made from: it equals ``recipe(source)``."""

    source: Tensor
    recipe: Recipe


def _itself(source: Tensor) -> Tensor:
    return source


def _through_layer(rows: Tensor, source: Tensor, layer: nn.Linear) -> Tensor:
    """``rows.T @ layer(source)`` without running the layer again.

    Its weight is multiplied last, by a small matrix, in full precision.
    """
    wide = torch.promote_types(rows.dtype, torch.float32)
    # The layer ran in this precision, under autocast too.
    weight, bias = (
        parameter.to(rows.dtype).to(wide)
        for parameter in (layer.weight, layer.bias)
    )
    small = rows.t() @ source.to(rows.dtype).flatten(0, -2)
    constant = torch.outer(rows.sum(0, dtype=wide), bias)
    return constant + small.to(wide) @ weight.t()


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        source: Tensor,
        recipe: Recipe,
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        ctx.recipe, ctx.device = recipe, x.device.type
        ctx.autocast = torch.is_autocast_enabled(ctx.device)
        # A frozen weight needs no input; nothing else may keep it alive.
        kept = source if ctx.needs_input_grad[3] else None
        ctx.save_for_backward(kept, weight)
        return times_weight(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        source, weight = ctx.saved_tensors
        needs_x, _, _, needs_weight, needs_bias = ctx.needs_input_grad
        grad_x = grad_weight = grad_bias = None
        rows = grad.flatten(0, -2)
        if needs_x:
            grad_x = grad @ weight.to(grad.dtype)
        if needs_weight:
            if type(ctx.recipe) is Linear:
                grad_weight = _through_layer(rows, source, ctx.recipe)
            else:
                with torch.autocast(ctx.device, grad.dtype, ctx.autocast):
                    x = ctx.recipe(source)
                grad_weight = rows.t() @ x.to(grad.dtype).flatten(0, -2)
            grad_weight = grad_weight.to(weight.dtype)
        if needs_bias:
            grad_bias = rows.sum(0, dtype=weight.dtype)
        return grad_x, None, None, grad_weight, grad_bias


class Linear(nn.Linear):
    """``nn.Linear`` whose large products run on the faster library."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        if not prefers_convolution(x, self.weight):
            return super().forward(x)
        if not torch.is_grad_enabled():
            return times_weight(x, self.weight, self.bias)
        return _Linear.apply(x, x.detach(), _itself, self.weight, self.bias)


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
    return _Linear.apply(x, source.detach(), recipe, layer.weight, layer.bias)
