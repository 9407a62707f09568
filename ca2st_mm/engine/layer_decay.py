# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Learning rate by layer and weight decay by rule, for many experts."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from ca2st_mm.models.backbones.expert import TransformerExpert
from ca2st_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

# `layers` of our experts, `links` between them, `blocks` and `adapters` of
# wrapped ones.
LAYER = re.compile(r'(?:^|\.)(?:layers|links|blocks|adapters)\.(\d+)\.')
FSDP_MARK = '_fsdp_wrapped_module.'
POSITION_TABLES = (r'_table$', r'pos_embed$')
NORMS = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
)


class ParamRule(NamedTuple):
    """What the optimizer does with a parameter.

    Args:
        lr_scale: Factor of the learning rate.
        decayed: Whether weight decay applies.
    """

    lr_scale: float
    decayed: bool


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MultiExpertOptimConstructor:
    """Group what is trained by learning rate and weight decay.

    Parameters of layer i, of every expert and of every link there, learn at
    ``layer_decay ** (num_layers - i)`` times the rate; embeddings, should
    they be trained, one power lower; heads, final norms and time encoders at
    the full rate.  Vectors, biases and position tables are not decayed.  A
    frozen parameter is in no group, so the optimizer keeps nothing for it; a
    shared one is in one group (the authors' recipe: CAST, section 4.1).

    Args:
        optim_wrapper_cfg: Config of the wrapper, with ``optimizer``.
        paramwise_cfg: ``layer_decay`` (1.0: one rate for all) and
            ``not_decayed``, regular expressions; a parameter whose name one
            of them finds is not decayed, besides vectors and biases.

    Raises:
        TypeError: If ``paramwise_cfg`` has another entry.
        ValueError: If ``layer_decay`` is not in (0, 1], or nothing in the
            model is trained.
    """

    def __init__(
        self,
        optim_wrapper_cfg: dict[str, Any],
        paramwise_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        options = dict(paramwise_cfg or {})
        self.layer_decay = options.pop('layer_decay', 1.0)
        self.not_decayed = options.pop('not_decayed', POSITION_TABLES)
        if options:
            raise TypeError(
                'paramwise_cfg of MultiExpertOptimConstructor has the entries '
                f'layer_decay and not_decayed, got {sorted(options)}'
            )
        if not 0 < self.layer_decay <= 1:
            raise ValueError(
                f'layer_decay lies in (0, 1], got {self.layer_decay}'
            )
        self.optim_wrapper_cfg = optim_wrapper_cfg

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer and its wrapper."""
        wrapper = dict(self.optim_wrapper_cfg)
        wrapper.setdefault('type', 'OptimWrapper')
        optimizer = dict(wrapper.pop('optimizer'))
        optimizer['params'] = self.groups(model, optimizer['lr'])
        return OPTIM_WRAPPERS.build(
            wrapper, default_args=dict(optimizer=OPTIMIZERS.build(optimizer))
        )

    def groups(self, model: nn.Module, lr: float) -> list[dict[str, Any]]:
        """Parameter groups for the full rate ``lr``, one for each rule."""
        bare = model.module if is_model_wrapper(model) else model
        members: dict[ParamRule, list[nn.Parameter]] = {}
        for parameter, rule in self.rules(bare).values():
            members.setdefault(rule, []).append(parameter)
        if not members:
            raise ValueError(
                'no parameter of the model is trained; leave a part out of '
                'frozen_parts'
            )
        # In a fixed order, because a resumed run matches groups by number.
        return [
            dict(
                params=members[rule],
                lr=lr * rule.lr_scale,
                lr_scale=rule.lr_scale,
                **({} if rule.decayed else dict(weight_decay=0.0)),
            )
            for rule in sorted(members)
        ]

    def rules(
        self, model: nn.Module
    ) -> dict[str, tuple[nn.Parameter, ParamRule]]:
        """Every trained parameter and its rule, by its first name."""
        depths = _depths(model)
        vectors = set(_vectors(model))
        return {
            name: (
                parameter,
                ParamRule(
                    lr_scale=self.layer_decay ** depths.get(name, 0),
                    decayed=name not in vectors
                    and not _any_finds(self.not_decayed, name),
                ),
            )
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }


def _depths(model: nn.Module) -> dict[str, int]:
    """How many layers from the top a parameter sits, where it is in one.

    The last layer is at 1, what stands before the first one below all.
    """
    num_layers = max(
        (
            module.num_layers
            for module in model.modules()
            if isinstance(getattr(module, 'num_layers', None), int)
        ),
        default=0,
    )
    depths = {name: num_layers + 1 for name in _embeddings(model)}
    for name, _ in model.named_parameters():
        if match := LAYER.search(name.replace(FSDP_MARK, '')):
            depths[name] = num_layers - int(match.group(1))
    return depths


def _embeddings(model: nn.Module) -> Iterator[str]:
    """Names of what experts own before their first layer."""
    ids = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, TransformerExpert)
        for parameter in module.parts()['embed']
    }
    return (n for n, p in model.named_parameters() if id(p) in ids)


def _vectors(model: nn.Module) -> Iterator[str]:
    """Names of biases, parameters of norms and other vectors."""
    # FSDP flattens its shards: there, their number of axes says nothing.
    sharded = any(
        isinstance(module, FullyShardedDataParallel)
        for module in model.modules()
    )
    for front, module in model.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            flat = parameter.ndim <= 1 and not sharded
            if flat or leaf == 'bias' or isinstance(module, NORMS):
                yield f'{front}.{leaf}' if front else leaf


def _any_finds(patterns: Iterable[str], name: str) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)
