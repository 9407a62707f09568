# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What FSDP shards as a unit."""

from mmengine.registry import FUNCTIONS
from torch import nn

from ca2st_mm.models.layers.transformer import (
    AttentionBlock,
    FeedForwardBlock,
)


@FUNCTIONS.register_module()
def wrap_halves(
    module: nn.Module, recurse: bool, nonwrapped_numel: int
) -> bool:
    """Make a unit of each half of an expert's layer.

    For ``auto_wrap_policy`` of FSDP.  A half is called as a whole, which is
    when FSDP gathers its weights; a layer never is.

    Args:
        module: The module FSDP has come to.
        recurse: Whether it asks to look inside, else whether to wrap.
        nonwrapped_numel: Parameters not yet in a unit; they do not matter.
    """
    return recurse or isinstance(module, (AttentionBlock, FeedForwardBlock))
