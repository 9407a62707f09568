# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Parameter groups of multi-expert models."""

import re
from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from ca2st_mm.models.backbones.expert import TransformerExpert
from ca2st_mm.models.backbones.foreign import ForeignExpert
from ca2st_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS
from ca2st_mm.utils.errors import UsageError

# `layers` of our experts, `links` between them; `blocks`, `layer` and
# `adapters` of wrapped ones.
LAYER = re.compile(r'(?:^|\.)(?:layers?|links|blocks|adapters)\.(\d+)\.')
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


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MultiExpertOptimConstructor(DefaultOptimWrapperConstructor):
    """Group what is trained by learning rate and weight decay.

    Parameters of layer i, of every expert and of every link there, learn at
    ``layer_decay ** (num_layers - i)`` times the learning rate; trained
    embeddings one power lower; heads, final norms and time encoders at the
    full one.  Vectors, biases and position tables are not decayed (CAST,
    section 4.1).  A frozen parameter is in no group, a shared one in one.

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
        TypeError: If ``paramwise_cfg`` has an unknown entry.
        UsageError: If an entry fits nothing in the model, the optimizer is
            unknown or has no ``lr``, or nothing in the model is trained.

    Example:
        >>> constructor = MultiExpertOptimConstructor(
        ...     dict(optimizer=dict(type='AdamW', lr=1e-3)),
        ...     dict(custom_keys={'bias': dict(lr_mult=2)}))
        >>> optimizer = constructor(nn.Linear(4, 2)).optimizer
        >>> [group['lr'] for group in optimizer.param_groups]
        [0.001, 0.002]
    """

    def _validate_cfg(self) -> None:
        unknown = sorted(set(self.paramwise_cfg) - set(OPTIONS))
        if unknown:
            raise TypeError(
                'paramwise_cfg of MultiExpertOptimConstructor takes '
                f'{", ".join(OPTIONS)}, got {", ".join(unknown)}'
            )
        kind = self.optimizer_cfg.get('type')
        # The registry in which MMEngine looks for it.
        with OPTIMIZERS.switch_scope_and_registry(None) as registry:
            if isinstance(kind, str) and registry.get(kind) is None:
                raise UsageError(
                    f'{kind} is not in the {registry.scope}::{registry.name} '
                    'registry; correct optim_wrapper.optimizer.type'
                )
        # Never empty: MMEngine then asks for groups.
        self.paramwise_cfg = {'layer_decay': 1.0, **self.paramwise_cfg}
        if not 0 < self.paramwise_cfg['layer_decay'] <= 1:
            raise UsageError(
                'layer_decay lies in (0, 1], got '
                f'{self.paramwise_cfg["layer_decay"]}'
            )
        if self.base_lr is None:
            raise UsageError(
                'optim_wrapper.optimizer has no learning rate, which '
                'MultiExpertOptimConstructor scales for each group; set '
                'optim_wrapper.optimizer.lr'
            )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer and its wrapper."""
        # FSDP flattens its shards: there, their number of axes says nothing.
        self._sharded = isinstance(model, FullyShardedDataParallel)
        return super().__call__(model)

    def add_params(self, params: list[dict], module: nn.Module) -> None:
        """Append one parameter group for each combination of options."""
        layer_decay = self.paramwise_cfg['layer_decay']
        custom_keys = self.paramwise_cfg.get('custom_keys') or {}
        depths = _depths(module) if layer_decay != 1 else {}
        decays = self._decay_factors(module)
        unused = set(custom_keys)
        groups: dict[str, dict[str, Any]] = {}
        for name, parameter in module.named_parameters():
            bare = name.replace(FSDP_MARK, '')
            keys = sorted(key for key in custom_keys if key in bare)
            unused.difference_update(keys)
            if not parameter.requires_grad:
                continue
            options = dict(custom_keys[max(keys, key=len)] if keys else ())
            lr_scale = options.pop('lr_mult', 1.0)
            lr_scale *= layer_decay ** depths.get(name, 0)
            decay = options.pop('decay_mult', decays.get(name, 1.0))
            if decay and decay != 1 and self.base_wd is None:
                raise UsageError(
                    f'a factor {decay} of the weight decay needs '
                    'optim_wrapper.optimizer.weight_decay, which is not set'
                )
            if decay != 1:
                options['weight_decay'] = decay * (self.base_wd or 0.0)
            options.update(lr=self.base_lr * lr_scale, lr_scale=lr_scale)
            group = groups.setdefault(
                repr(sorted(options.items())), dict(options, params=[])
            )
            group['params'].append(parameter)
        if unused:
            raise UsageError(
                f'custom_keys names {", ".join(sorted(unused))}, which no '
                'parameter of the model has in its name; names look like '
                f'{next((n for n, _ in module.named_parameters()), "nothing")}'
            )
        if not groups:
            raise UsageError(
                'no parameter of the model is trained; leave a part out of '
                'frozen_parts'
            )
        # In a fixed order, because a resumed run matches groups by number.
        params += [
            group
            for _, group in sorted(
                groups.items(), key=lambda pair: (pair[1]['lr_scale'], pair[0])
            )
        ]

    def _decay_factors(self, model: nn.Module) -> dict[str, float]:
        """Factors of the weight decay, where they differ from 1."""
        options = self.paramwise_cfg
        norm, bias, flat = (options.get(name, 0.0) for name in DECAY_OPTIONS)
        not_decayed = options.get('not_decayed', POSITION_TABLES)
        factors = {}
        for prefix, module in model.named_modules():
            for name, parameter in module.named_parameters(prefix, False):
                if any(re.search(pattern, name) for pattern in not_decayed):
                    factors[name] = 0.0
                elif isinstance(module, NORMS):
                    factors[name] = norm
                elif name.rpartition('.')[2] == 'bias':
                    factors[name] = bias
                elif parameter.ndim <= 1 and not self._sharded:
                    factors[name] = flat
        return factors


def _depths(model: nn.Module) -> dict[str, int]:
    """How many layers from the top a parameter of the backbone sits.

    Heads and final norms are at 0, the last layer at 1, what stands before
    the first one below all.  A backbone that is not ours has MMPretrain's
    ``get_layer_depth(name, prefix)``, which returns the layer (0: before the
    first one) and the number of layers + 2.
    """
    backbone, prefix = model, ''
    if not isinstance(model, TransformerExpert) and hasattr(model, 'backbone'):
        backbone, prefix = model.backbone, 'backbone.'
    if is_model_wrapper(backbone):
        backbone = backbone.module
    layer_of = getattr(backbone, 'get_layer_depth', None)
    num_layers = getattr(backbone, 'num_layers', None)
    if layer_of is None and isinstance(num_layers, int):
        layers, top = _layers_of_experts(backbone), num_layers + 1
        return {
            name: top - layers.get(id(parameter), top)
            for name, parameter in model.named_parameters()
        }
    names = [n for n, _ in model.named_parameters() if n.startswith(prefix)]
    try:
        if layer_of is None:
            raise NotImplementedError
        found = {name: layer_of(name, prefix) for name in names}
    except NotImplementedError as error:  # as MMPretrain's base class says
        raise UsageError(
            f'layer_decay is set, but {type(backbone).__name__} does not say '
            'which layer a parameter is in; give it a method '
            'get_layer_depth(param_name, prefix) as the ViTs of MMPretrain '
            'have, or leave layer_decay out of paramwise_cfg'
        ) from error
    for name, (layer, count) in found.items():
        if not 0 <= layer < count:
            raise UsageError(
                f'{name} is in layer {layer - 1} of a backbone of {count - 2} '
                'layers, so layer_decay would raise its learning rate; '
                'correct get_layer_depth of the backbone'
            )
    return {name: count - 1 - layer for name, (layer, count) in found.items()}


def _layers_of_experts(backbone: nn.Module) -> dict[int, int]:
    """Layer by ``id`` of a parameter, as ``get_layer_depth`` counts them.

    What is in none, final norms and time encoders, is left out.
    """
    layers = {}
    for module in backbone.modules():
        if isinstance(module, TransformerExpert):
            embed = module.parts()['embed']
            layers.update((id(parameter), 0) for parameter in embed)
    for name, parameter in backbone.named_parameters():
        if match := LAYER.search(name.replace(FSDP_MARK, '')):
            layers[id(parameter)] = int(match.group(1)) + 1
    # Blocks of other libraries have names of their own.
    for module in backbone.modules():
        if isinstance(module, ForeignExpert):
            for key, layer in module.layer_of_parameters().items():
                layers[key] = layer + 1
    return layers
