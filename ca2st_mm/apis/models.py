# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Models of the zoo by name, in the manner of timm and mmpretrain."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from ca2st_mm import zoo
from ca2st_mm.checkpoints import load_weights, open_checkpoint
from ca2st_mm.checkpoints.sharing import build_model
from ca2st_mm.engine.launch import read_config
from ca2st_mm.zoo.catalogue import find_index

from .stored_config import stored_classes, stored_config


def list_models(pattern: str = '*') -> list[str]:
    """Names of the models that :func:`get_model` builds.

    Args:
        pattern: A shell pattern, e.g. ``'*k400*'``.

    Example:
        >>> list_models('cast*k400')
        ['cast_vit-base_k400']
    """
    return [
        entry.name
        for entry in zoo.entries(pattern)
        if entry.role == 'model' and entry.config
    ]


def is_listed(source: str) -> bool:
    """Whether a source is a name of the zoo, rather than a checkpoint.

    Raises:
        ValueError: If it is a config.
    """
    if source.endswith('.py'):
        raise ValueError(
            f'{source!r} is a config, which comes with a checkpoint: '
            'Recognizer.from_config(config, checkpoint), or --config'
        )
    return zoo.canonical(source).startswith(zoo.SCHEME)


def get_config(name: str) -> Config:
    """The whole config of a model: data, schedule and all.

    Args:
        name: One of :func:`list_models`.

    Raises:
        ValueError: If the zoo has no such model.

    Example:
        >>> get_config('cast_vit-base_k400').train_cfg.max_epochs
        70
    """
    entry = zoo.find(name)
    if entry.role != 'model':
        raise ValueError(
            f'{entry.name} is no model but weights of one; name them in a '
            f"config as init_cfg=dict(type='Pretrained', "
            f"checkpoint='{zoo.SCHEME}{entry.name}')"
        )
    return Config.fromfile(find_index().parent / entry.config)


def get_model(
    name: str | Path,
    pretrained: bool | str | Path = False,
    device: str = 'cpu',
    config: str | Path | None = None,
    **changes: Any,
) -> nn.Module:
    """Build a model by name, or load one that carries its config.

    Args:
        name: One of :func:`list_models`; or a source with a config inside,
            whose weights are loaded: a checkpoint file, a folder of
            ``save_pretrained``, or ``owner/name@revision`` on the
            Hugging Face Hub.
        pretrained: For a model of the list.  False for random weights;
            ``'experts'`` for the published weights of its experts, the rest
            fresh, as training starts; True for the trained weights that the
            zoo knows for it; or any source that :func:`load_weights` takes.
        device: Where to put it.
        config: The config file of a source that carries none.
        **changes: Entries of the config's ``model`` to replace, e.g.
            ``cls_head=dict(num_classes=10)``; dicts are merged.

    Returns:
        The recognizer in eval mode; ``model.cfg`` is its whole config, and
        ``model.dataset_meta`` has the ``classes`` that the source names.

    Raises:
        ValueError: If the name is unknown, or the weights do not fit.
        zoo.ZooError: If weights cannot be had; says what to do.
        FileNotFoundError: If the checkpoint is not there.

    Example:
        >>> model = get_model('ca2st.pth')  # or a name of the list
        >>> model.cls_head.num_classes
        12
    """
    source, stored = str(name), {}
    if config is not None:
        cfg, stored = read_config(str(config)), open_checkpoint(source)
    elif is_listed(source):
        cfg = get_config(source)
        if pretrained and pretrained != 'experts':
            source = source if pretrained is True else str(pretrained)
            stored = open_checkpoint(source)
    else:
        stored = open_checkpoint(source)
        cfg = stored_config(stored, source)
    cfg.merge_from_dict(dict(model=changes))
    model = build_model(cfg, source)
    if stored:
        load_weights(model, stored, name=source)
    elif pretrained == 'experts':
        model.init_weights()
    model.cfg = cfg
    model.dataset_meta = dict(classes=stored_classes(stored))
    return model.to(device).eval()
