# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Ways to train in less memory; none changes what is computed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

MATMULS = (nn.Linear, nn.Conv2d, nn.Conv3d)
FROZEN_DTYPES = {
    'float32': torch.float32,
    'bfloat16': torch.bfloat16,
    'float16': torch.float16,
}


def store(part: Callable, *args: Any, **kwargs: Any) -> Any:
    """Run a part; autograd keeps its activations."""
    return part(*args, **kwargs)


def recompute(part: Callable, *args: Any, **kwargs: Any) -> Any:
    """Run a part and once more in the backward pass, keeping its inputs.

    Random masks are drawn alike both times.
    """
    # The reentrant kind would lose the gradients of the first layer, whose
    # tokens come from frozen embeddings and need none.
    return checkpoint(part, *args, use_reentrant=False, **kwargs)


ACTIVATIONS = {'store': store, 'recompute': recompute}


def cast_frozen(model: nn.Module, dtype: str) -> None:
    """Keep the frozen weights of matrix products in another precision.

    ``torch.autocast`` casts the same weights in every forward pass, so under
    autocast to the same type nothing changes but the memory.  Norms and
    embeddings stay as they are.

    Args:
        model: Changed in place.
        dtype: A name of :data:`FROZEN_DTYPES`.
    """
    for module in model.modules():
        if isinstance(module, MATMULS) and not any(
            parameter.requires_grad for parameter in module.parameters()
        ):
            module.to(FROZEN_DTYPES[dtype])
