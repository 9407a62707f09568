# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Models of the zoo by name, in the manner of timm and mmpretrain."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import _load_checkpoint
from torch import Tensor, nn

from ca2st_mm import zoo
from ca2st_mm.checkpoints import detect_source, unwrap
from ca2st_mm.models.backbones.frozen_weights import FINGERPRINT
from ca2st_mm.registry import MODELS
from ca2st_mm.zoo.catalogue import find_index


def list_models(pattern: str = '*') -> list[str]:
    """Names of the models that :func:`get_model` builds.

    Args:
        pattern: A shell pattern, e.g. ``'*k400*'``.
    """
    return [
        entry.name
        for entry in zoo.entries(pattern)
        if entry.role == 'model' and entry.config
    ]


def get_config(name: str) -> Config:
    """The whole config of a model: data, schedule and all.

    Args:
        name: One of :func:`list_models`.

    Raises:
        ValueError: If the zoo has no such model, or no config of it.
    """
    entry = zoo.find(name)
    if entry.config is None:
        raise ValueError(
            f'{entry.name} are weights without a config; name them in one as '
            f"init_cfg=dict(type='Pretrained', "
            f"checkpoint='{zoo.SCHEME}{entry.name}')"
        )
    return Config.fromfile(find_index().parent / entry.config)


def get_model(
    name: str,
    pretrained: bool | str | Path = False,
    device: str = 'cpu',
    **changes: Any,
) -> nn.Module:
    """Build a model by name.

    Args:
        name: One of :func:`list_models`.
        pretrained: False for random weights; ``'experts'`` for the published
            weights of its experts, the rest fresh, as training starts; True
            for the trained weights that the zoo knows for it; or the file of
            a checkpoint, ours or its authors'.
        device: Where to put it.
        **changes: Entries of the config's ``model`` to replace, e.g.
            ``cls_head=dict(num_classes=10)``; dicts are merged.

    Returns:
        The recognizer in eval mode; ``model.cfg`` is its whole config.

    Raises:
        ValueError: If the name is unknown, or the weights do not fit.
        zoo.ZooError: If weights cannot be had; says what to do.
        FileNotFoundError: If the checkpoint is not there.
    """
    cfg = get_config(name)
    cfg.merge_from_dict(dict(model=changes))
    model = build_model(cfg)
    if pretrained == 'experts':
        model.init_weights()
    elif pretrained:
        address = zoo.SCHEME + name if pretrained is True else str(pretrained)
        load_weights(model, address)
    model.cfg = cfg
    return model.to(device).eval()


def build_model(cfg: Config) -> nn.Module:
    """Build the model of a config, outside of any runner."""
    # MMEngine's base classes look their parts up in the scope of the run.
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    return MODELS.build(cfg.model)


def load_weights(model: nn.Module, checkpoint: str) -> None:
    """Fill a whole recognizer from a checkpoint; every tensor must fit.

    Args:
        model: What to fill.
        checkpoint: Path or address of a checkpoint, ours (whole or delta) or
            of the authors of CAST, CAVA and CA2ST.

    Raises:
        ValueError: If it is of another model.
    """
    fill_model(model, _load_checkpoint(checkpoint, 'cpu'), checkpoint)


def fill_model(
    model: nn.Module, container: Mapping[str, Any], checkpoint: str
) -> None:
    """Fill a whole recognizer from what a checkpoint file holds.

    Args:
        model: What to fill.
        container: What was read.
        checkpoint: Its name, for messages.

    Raises:
        ValueError: If it is of another model.
    """
    try:
        stored, _ = unwrap(container)
        own = model.state_dict()
        if not _is_ours(stored, own):
            source = detect_source(stored)
            conversion = source.to_ours(stored)
            stored = conversion.state_dict
            lines = [f'read as {source.title}', *conversion.account()]
            print_log(f'{checkpoint}: {"; ".join(lines)}', logger='current')
        if problem := _misfit(stored, own):
            raise ValueError(problem)
        model.load_state_dict(stored)
        _mark_initialized(model)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f'{checkpoint!r} is not a checkpoint of this model: '
            f'{error.args[0]}'
        ) from error


def _mark_initialized(model: nn.Module) -> None:
    # A runner would load the experts' published weights on top.
    for module in model.modules():
        if isinstance(module, BaseModule):
            module.is_init = True


def _is_ours(stored: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    return any(key in own for key in stored)


def _misfit(
    stored: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> str | None:
    """What keeps a state dict from being of this model, in a few words."""
    left_out = tuple(
        key.removesuffix(FINGERPRINT)
        for key in stored
        if key.endswith(FINGERPRINT)
    )
    for key, value in stored.items():
        if key.endswith(FINGERPRINT):
            continue
        if key not in own:
            return f'it has {key!r}, which the model has not'
        if value.shape != own[key].shape:
            return (
                f'{key!r} has the shape {tuple(value.shape)} instead of '
                f'{tuple(own[key].shape)}'
            )
    for key in own:
        if key not in stored and not key.startswith(left_out):
            return f'it lacks {key!r}'
    return None
