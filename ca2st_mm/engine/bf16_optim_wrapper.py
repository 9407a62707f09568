# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Mixed precision on any device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from ca2st_mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """An ``OptimWrapper`` that runs the forward pass in bfloat16.

    MMEngine's ``AmpOptimWrapper`` refuses to start without an accelerator.
    bfloat16 has the exponent range of float32, so no loss scaling is needed
    and ``torch.autocast`` alone does the work, on the CPU as well.  Takes
    the arguments of ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast on the device that holds the model.

        Args:
            model: The training model; its first parameter tells the device.
        """
        first = next(model.parameters(), None)
        device = 'cpu' if first is None else first.device.type
        with super().optim_context(model):
            with torch.autocast(device_type=device, dtype=torch.bfloat16):
                yield
