# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Models of the zoo by name, in the manner of timm and mmpretrain."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from ca2st_mm import zoo
from ca2st_mm.checkpoints import load_weights
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
