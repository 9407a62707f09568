# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Parameter groups, mixed precision and FSDP units of multi-expert models."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import FUNCTIONS, OPTIMIZERS
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from ca2st_mm.models.backbones.expert import TransformerExpert
from ca2st_mm.models.layers.transformer import (
    AttentionBlock,
    FeedForwardBlock,
)
from ca2st_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

from .launch import UsageError

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
DECAY_OPTIONS = ('norm_decay_mult', 'bias_decay_mult', 'flat_decay_mult')
OPTIONS = ('layer_decay', 'not_decayed', 'custom_keys', *DECAY_OPTIONS)


class ParamRule(NamedTuple):
    """What the optimizer does with a parameter.

    Args:
        lr_scale: Factor of the learning rate.
        decay_scale: Factor of the weight decay.
        extra: Further options of its group, as sorted (name, value) pairs.
    """

    lr_scale: float
    decay_scale: float
    extra: tuple[tuple[str, Any], ...] = ()


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MultiExpertOptimConstructor:
    """Group what is trained by learning rate and weight decay.

    Parameters of layer i, of every expert and of every link there, learn at
    ``layer_decay ** (num_layers - i)`` times the learning rate; embeddings,
    should they be trained, one power lower; heads, final norms and time
    encoders at the full one.  Vectors, biases and position tables are not
    decayed.  A frozen parameter is in no group, so the optimizer keeps
    nothing for it; a shared one is in one group (the authors' recipe: CAST,
    section 4.1).

    Args:
        optim_wrapper_cfg: Config of the wrapper, with ``optimizer``, which
            has an ``lr``.
        paramwise_cfg: Any of

            - ``layer_decay``, in (0, 1]; 1.0: one learning rate for all;
            - ``not_decayed``, regular expressions: a parameter whose name
              one of them finds is not decayed;
            - ``custom_keys``, as in MMEngine: {part of a name: options},
              with ``lr_mult`` (on top of the layer decay), ``decay_mult``
              (in place of the rules above) and options of the optimizer;
              the longest part that a name holds is taken;
            - ``norm_decay_mult``, ``bias_decay_mult``, ``flat_decay_mult``,
              as in MMEngine: factors for norms, biases and other vectors,
              0 unless given.

    Raises:
        TypeError: If ``paramwise_cfg`` has another entry.
        UsageError: If ``layer_decay`` is not in (0, 1], the optimizer has no
            ``lr``, nothing in the model is trained, a key of
            ``custom_keys`` is in no name, or the layers of the backbone are
            unknown although ``layer_decay`` is set.

    Example:
        >>> constructor = MultiExpertOptimConstructor(
        ...     dict(optimizer=dict(type='AdamW', lr=1e-3)),
        ...     dict(custom_keys={'bias': dict(lr_mult=2)}))
        >>> optimizer = constructor(nn.Linear(4, 2)).optimizer
        >>> [group['lr'] for group in optimizer.param_groups]
        [0.001, 0.002]
    """

    def __init__(
        self,
        optim_wrapper_cfg: dict[str, Any],
        paramwise_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        options = dict(paramwise_cfg or {})
        if unknown := sorted(set(options) - set(OPTIONS)):
            raise TypeError(
                'paramwise_cfg of MultiExpertOptimConstructor takes '
                f'{", ".join(OPTIONS)}, got {", ".join(unknown)}'
            )
        self.layer_decay = options.get('layer_decay', 1.0)
        if not 0 < self.layer_decay <= 1:
            raise UsageError(
                f'layer_decay lies in (0, 1], got {self.layer_decay}'
            )
        self.not_decayed = options.get('not_decayed', POSITION_TABLES)
        self.custom_keys = options.get('custom_keys') or {}
        self.norm_decay, self.bias_decay, self.flat_decay = (
            options.get(name, 0.0) for name in DECAY_OPTIONS
        )
        self.optim_wrapper_cfg = optim_wrapper_cfg

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer and its wrapper."""
        wrapper = dict(self.optim_wrapper_cfg)
        wrapper.setdefault('type', 'OptimWrapper')
        optimizer = dict(wrapper.pop('optimizer'))
        if optimizer.get('lr') is None:
            raise UsageError(
                'optim_wrapper.optimizer has no learning rate, which '
                'MultiExpertOptimConstructor scales for each group; set '
                'optim_wrapper.optimizer.lr'
            )
        optimizer['params'] = self.groups(
            model, optimizer['lr'], optimizer.get('weight_decay')
        )
        return OPTIM_WRAPPERS.build(
            wrapper, default_args=dict(optimizer=OPTIMIZERS.build(optimizer))
        )

    def groups(
        self, model: nn.Module, lr: float, weight_decay: float | None = None
    ) -> list[dict[str, Any]]:
        """Parameter groups, one for each rule.

        Args:
            model: The model.
            lr: The full learning rate.
            weight_decay: The full weight decay; None: the optimizer's
                default for what is decayed.
        """
        bare = model.module if is_model_wrapper(model) else model
        members: dict[ParamRule, list[nn.Parameter]] = {}
        for parameter, rule in self.rules(bare).values():
            members.setdefault(rule, []).append(parameter)
        if not members:
            raise UsageError(
                'no parameter of the model is trained; leave a part out of '
                'frozen_parts'
            )
        # In a fixed order, because a resumed run matches groups by number.
        return [
            dict(
                params=members[rule],
                lr=lr * rule.lr_scale,
                lr_scale=rule.lr_scale,
                **_weight_decay(rule.decay_scale, weight_decay),
                **dict(rule.extra),
            )
            for rule in sorted(
                members, key=lambda r: (r.lr_scale, r.decay_scale, repr(r))
            )
        ]

    def rules(
        self, model: nn.Module
    ) -> dict[str, tuple[nn.Parameter, ParamRule]]:
        """Every trained parameter and its rule, by its first name."""
        depths = _depths(model) if self.layer_decay != 1 else {}
        decays = self._decay_scales(model)
        unused = set(self.custom_keys)
        found = {}
        for name, parameter in model.named_parameters():
            bare = name.replace(FSDP_MARK, '')
            matching = [key for key in self.custom_keys if key in bare]
            unused.difference_update(matching)
            if not parameter.requires_grad:
                continue
            key = min(matching, key=lambda k: (-len(k), k), default=None)
            options = dict(self.custom_keys[key]) if key else {}
            rule = ParamRule(
                options.pop('lr_mult', 1.0)
                * self.layer_decay ** depths.get(name, 0),
                options.pop('decay_mult', decays.get(name, 1.0)),
                tuple(
                    (k, tuple(v) if isinstance(v, list) else v)
                    for k, v in sorted(options.items())
                ),
            )
            found[name] = parameter, rule
        if unused:
            raise UsageError(
                f'custom_keys names {", ".join(sorted(unused))}, which no '
                'parameter of the model has in its name; names look like '
                f'{next(iter(found), "nothing")}'
            )
        return found

    def _decay_scales(self, model: nn.Module) -> dict[str, float]:
        """Factors of the weight decay, where they differ from 1."""
        # FSDP flattens its shards: there, their number of axes says nothing.
        sharded = any(
            isinstance(module, FullyShardedDataParallel)
            for module in model.modules()
        )
        scales = {}
        for prefix, module in model.named_modules():
            for leaf, parameter in module.named_parameters(recurse=False):
                name = f'{prefix}.{leaf}' if prefix else leaf
                if any(re.search(p, name) for p in self.not_decayed):
                    scales[name] = 0.0
                elif isinstance(module, NORMS):
                    scales[name] = self.norm_decay
                elif leaf == 'bias':
                    scales[name] = self.bias_decay
                elif parameter.ndim <= 1 and not sharded:
                    scales[name] = self.flat_decay
        return scales


def _weight_decay(scale: float, full: float | None) -> dict[str, float]:
    """The option of a group; none where the optimizer's own applies."""
    if scale == 1:
        return {}
    if full is None and scale:
        raise UsageError(
            f'a factor {scale} of the weight decay needs '
            'optim_wrapper.optimizer.weight_decay, which is not set'
        )
    return dict(weight_decay=scale * full if scale else 0.0)


def _depths(model: nn.Module) -> dict[str, int]:
    """How many layers from the top a parameter sits, where it is in one.

    The last layer is at 1, what stands before the first one below all.  The
    backbone knows its layers: an expert or several, or one with MMPretrain's
    ``get_layer_depth(name, prefix)``, which returns the layer (0: before the
    first one) and the number of layers + 2.

    Raises:
        UsageError: If it does not, or a layer's index is out of its range.
    """
    backbone, prefix = model, ''
    if not isinstance(model, TransformerExpert) and hasattr(model, 'backbone'):
        backbone, prefix = model.backbone, 'backbone.'
    if is_model_wrapper(backbone):
        backbone = backbone.module
    named = {
        name: parameter
        for name, parameter in model.named_parameters()
        if name.startswith(prefix)
    }
    unknown = UsageError(
        f'layer_decay is set, but {type(backbone).__name__} does not say '
        'which layer a parameter is in; give it a method '
        'get_layer_depth(param_name, prefix) as the ViTs of MMPretrain have, '
        'or leave layer_decay out of paramwise_cfg'
    )
    if hasattr(backbone, 'get_layer_depth'):
        depths = {}
        for name in named:
            try:
                layer, count = backbone.get_layer_depth(name, prefix)
            except NotImplementedError as error:  # in MMPretrain's base class
                raise unknown from error
            # The last one is that of heads.
            depths[name] = _depth(name, layer, count - 1, count - 2)
        return depths
    num_layers = getattr(backbone, 'num_layers', None)
    if not isinstance(num_layers, int):
        raise unknown
    embeddings = {
        id(parameter)
        for module in backbone.modules()
        if isinstance(module, TransformerExpert)
        for parameter in module.parts()['embed']
    }
    depths = {
        name: num_layers + 1
        for name, parameter in named.items()
        if id(parameter) in embeddings
    }
    for name in named:
        if match := LAYER.search(name.replace(FSDP_MARK, '')):
            index = int(match.group(1))
            depths[name] = _depth(name, index + 1, num_layers, num_layers)
    return depths


def _depth(name: str, layer: int, highest: int, num_layers: int) -> int:
    """Layers from the top; ``layer`` counts from 1, 0 is before the first.

    Raises:
        UsageError: If there is no such layer.
    """
    if not 0 <= layer <= highest:
        raise UsageError(
            f'{name} is in layer {layer - 1} of a backbone of {num_layers} '
            'layers, so layer_decay would raise its learning rate; correct '
            'num_layers or get_layer_depth of the backbone'
        )
    return num_layers + 1 - layer


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


# The first name is that of the first releases.
@FUNCTIONS.register_module(name=['wrap_halves', 'wrap_blocks'])
def wrap_blocks(
    module: nn.Module, recurse: bool, nonwrapped_numel: int
) -> bool:
    """Make an FSDP unit of each block of an expert's layer.

    For ``auto_wrap_policy`` of FSDP.  The attention block and the
    feed-forward block are called as a whole, which is when FSDP gathers
    their weights; a layer never is.

    Args:
        module: The module FSDP has come to.
        recurse: Whether it asks to look inside, else whether to wrap.
        nonwrapped_numel: Parameters not yet in a unit; they do not matter.
    """
    return recurse or isinstance(module, (AttentionBlock, FeedForwardBlock))
