# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Sharding what is trained over several devices."""

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.device import get_device
from mmengine.registry import FUNCTIONS, STRATEGIES
from torch import nn
from torch.distributed.fsdp import (
    FullOptimStateDictConfig,
    FullStateDictConfig,
    FullyShardedDataParallel,
)

from ca2st_mm.models.layers.transformer import (
    AttentionBlock,
    FeedForwardBlock,
)


@STRATEGIES.register_module()
class MultiExpertFSDPStrategy(FSDPStrategy):
    """MMEngine's, for models that are mostly frozen and today's PyTorch.

    Frozen weights stay whole on every device: they have no gradients and no
    state of the optimizer, so that sharding them would save little and cost
    two transfers of all of them a step.  Checkpoints are one file, as those of
    other runs.  On a CPU it needs gloo; PyTorch refuses it otherwise.

    Args:
        kwargs: As for MMEngine's, without ``state_dict_cfg``.

    Example:
        >>> strategy = dict(
        ...     type='MultiExpertFSDPStrategy',
        ...     model_wrapper=dict(
        ...         type='MMFullyShardedDataParallel',
        ...         auto_wrap_policy='wrap_blocks'))
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**{**kwargs, 'state_dict_cfg': 'full'})
        # Offloading from a CPU to itself crashes PyTorch 2.11; with rank0_only
        # it gives both averages of AdamW the same values.
        offload = torch.cuda.is_available()
        self.state_dict_config = FullStateDictConfig(offload, rank0_only=True)
        self.optim_state_dict_config = FullOptimStateDictConfig(offload)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        wrapper = dict(self.model_wrapper or {})
        wrapper.setdefault('type', 'MMFullyShardedDataParallel')
        wrapper['ignored_states'] = [
            p for p in model.parameters() if not p.requires_grad
        ]
        if not torch.cuda.is_available():
            wrapper['device_id'] = torch.device('cpu')
        self.model_wrapper = wrapper
        return super()._wrap_model(model.to(get_device()))

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the state; MMEngine's call is that of PyTorch 2.0."""
        self.optim_wrapper.load_state_dict(
            FullyShardedDataParallel.optim_state_dict_to_load(
                model=self.model,
                optim=self.optim_wrapper.optimizer,
                optim_state_dict=state_dict,
            )
        )


@FUNCTIONS.register_module()
def wrap_blocks(
    module: nn.Module,
    recurse: bool,
    nonwrapped_numel: int,
    min_params: int = 1_000_000,
) -> bool:
    """Make an FSDP unit of each block of a layer that is trained as a whole.

    For ``auto_wrap_policy`` of FSDP.  A unit costs transfers of its own, so
    that blocks with small adapters between frozen weights, and the links,
    which may share their bottlenecks, stay in the unit of the whole model.
    A layer is never called as a whole, which is when FSDP gathers weights.

    Args:
        module: The module FSDP has come to.
        recurse: Whether it asks to look inside, else whether to wrap.
        nonwrapped_numel: Trained parameters of the module.
        min_params: Trained parameters that make a block a unit.

    Example:
        >>> wrapper = dict(type='MMFullyShardedDataParallel',
        ...                auto_wrap_policy=dict(type='wrap_blocks'))
    """
    if recurse:
        return True
    is_block = isinstance(module, (AttentionBlock, FeedForwardBlock))
    return is_block and nonwrapped_numel >= min_params
