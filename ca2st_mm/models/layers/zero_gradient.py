# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Parameters that are left out of the arithmetic and stay in training."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class _ZeroGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*parameters)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return grad, *(torch.zeros_like(p) for p in ctx.saved_tensors)


def zero_gradient(x: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """Pass ``x`` on and give the parameters gradients of zero.

    Distributed training waits for the gradient of every parameter, and an
    optimizer decays what has one: leaving parameters out for speed must
    change neither.

    Args:
        x: Any tensor on the way to the loss; may be empty.
        parameters: What is left out.
    """
    return _ZeroGradient.apply(x, *parameters)
