# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How many micro-batches make a step of the optimizer."""

from mmengine.optim import BaseOptimWrapper
from torch.optim import Optimizer


def micro_batches(optimizer: Optimizer | BaseOptimWrapper) -> int:
    """Micro-batches of a step, 1 where nothing accumulates.

    MMEngine's wrappers count them.  DeepSpeed accumulates by itself: there
    the engine knows, which its wrapper holds when schedulers and hooks ask.

    Args:
        optimizer: Optimizer or wrapper, of any strategy.
    """
    # Both private in MMEngine, which has no other way to ask.
    engine = getattr(optimizer, '_model', None)
    if hasattr(engine, 'gradient_accumulation_steps'):
        return engine.gradient_accumulation_steps()
    return getattr(optimizer, '_accumulative_counts', 1)
