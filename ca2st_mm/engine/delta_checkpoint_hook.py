# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Small checkpoints while training."""

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ca2st_mm.checkpoints.delta import (
    fingerprint,
    frozen_parameters,
    without_frozen,
)
from ca2st_mm.models.backbones.expert import TransformerExpert
from ca2st_mm.registry import HOOKS

EMA = 'ema_state_dict'


@HOOKS.register_module()
class DeltaCheckpointHook(Hook):
    """Leave the frozen weights of the experts out of every checkpoint.

    A checkpoint of CAST then holds 45 M of 217 M parameters, and a
    fingerprint of each expert's frozen weights.  Every loading puts these back
    from the expert's ``init_cfg`` and refuses other ones; an expert without
    ``init_cfg`` is saved whole.  ``meta['frozen_experts']`` says where they
    came from.

    Example:
        >>> HOOKS.build(dict(type='DeltaCheckpointHook')).priority
        'LOW'
    """

    # After EMAHook (NORMAL), which swaps its averages into the checkpoint.
    priority = 'LOW'

    def __init__(self) -> None:
        self.fingerprints: dict[str, Tensor] = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember what ``init_cfg`` gave, before the file is loaded."""
        self.fingerprints = _fingerprints(runner.model)

    def before_train(self, runner: Runner) -> None:
        """Take the fingerprints once: frozen weights never change."""
        now = _fingerprints(runner.model)
        for name, value in self.fingerprints.items():
            if name in now and not torch.equal(now[name], value):
                # They could never be put back.
                del now[name]
                runner.logger.warning(
                    f'the frozen weights of {name} are no longer those of '
                    'its init_cfg, so checkpoints hold them'
                )
        self.fingerprints = now

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace frozen weights by fingerprints."""
        model = _bare(runner.model)
        experts = dict(model.named_modules())
        prints = {
            name: value
            for name, value in self.fingerprints.items()
            if _stay_frozen(experts[name])
        }
        checkpoint['state_dict'] = without_frozen(
            model, checkpoint['state_dict'], prints
        )
        if EMA in checkpoint:
            checkpoint[EMA] = without_frozen(
                model, checkpoint[EMA], prints, prefix='module.'
            )
        checkpoint['meta']['frozen_experts'] = {
            name: dict(
                checkpoint=experts[name].init_cfg.get('checkpoint'),
                sha256=bytes(value.tolist()).hex(),
            )
            for name, value in prints.items()
        }


def _fingerprints(model: nn.Module) -> dict[str, Tensor]:
    """Of every expert that can get its frozen weights back, by its name."""
    return {
        name: fingerprint(expert)
        for name, expert in _bare(model).named_modules()
        if isinstance(expert, TransformerExpert)
        and expert.init_cfg is not None
        and _stay_frozen(expert)
    }


def _stay_frozen(expert: TransformerExpert) -> bool:
    """Whether there are frozen weights, and they are still frozen."""
    frozen = frozen_parameters(expert).values()
    return bool(frozen) and not any(p.requires_grad for p in frozen)


def _bare(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
