# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Models to share: one folder, or one repository of the Hub."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from ca2st_mm import zoo
from ca2st_mm.registry import MODELS
from ca2st_mm.utils.building import building
from ca2st_mm.version import __version__

from .delta import experts_in, fingerprint, without_frozen
from .files import write_checkpoint
from .loading import load_weights

CARD = Path(__file__).with_name('model_card.md')


def save_pretrained(
    model: nn.Module,
    folder: str | Path,
    delta: bool = False,
    licence: str = 'unknown',
    numbers: str = 'none were measured.',
    name: str | None = None,
    config: Config | None = None,
    classes: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write a model as a folder that every entry point loads by its name.

    It holds ``model.safetensors`` (with config and class names inside),
    ``config.py`` to read, and ``README.md``, a model card.

    Args:
        model: What ``get_model`` returns, or another recognizer.  Those of
            ours have this as a method.
        folder: Where to write.
        delta: Whether to leave out the frozen weights of the experts; they
            come back from the experts' ``init_cfg``.
        licence: Terms of these weights.
        numbers: Results and who measured them, for the card.
        name: What the card calls the model; the folder if left out.
        config: The whole config of a model that has none as ``cfg``, such as
            one that a runner has built.
        classes: Names of the classes, of each task if there are several; by
            default those in ``dataset_meta`` of the model, if any.

    Raises:
        ValueError: If the model has no config or another number of classes,
            or the frozen weights are not those the config loads.

    Example:
        >>> model, cfg = nn.Linear(2, 1), Config(dict(model={}))
        >>> folder = save_pretrained(model, 'mine', licence='CC0', config=cfg)
        >>> sorted(path.name for path in folder.iterdir())
        ['README.md', 'config.py', 'model.safetensors']
    """
    config = config or getattr(model, 'cfg', None)
    if isinstance(config, dict):
        config = Config(config)
    if not isinstance(config, Config):
        raise ValueError(
            'the model has no config; build it with get_model, or give '
            'config=Config.fromfile(...), what it was built from'
        )
    config = portable(config, model)
    folder, text = Path(folder), config.pretty_text
    facts = dict(ca2st_mm=__version__, config=text, licence=licence)
    meta = getattr(model, 'dataset_meta', None) or {}
    if classes := classes or meta.get('classes'):
        check_classes(model, classes)
        facts['classes'] = json.dumps(classes)
    weights, held, experts = model.state_dict(), 'all weights', []
    pretrained = {n: e for n, e in experts_in(model).items() if e.init_cfg}
    if delta:
        held = 'what was trained; the rest is fetched'
        prints = {n: fingerprint(e) for n, e in pretrained.items()}
        weights = without_frozen(model, weights, prints)
        load_weights(build_model(config), weights)
    for key, expert in pretrained.items():
        source, terms = expert.init_cfg['checkpoint'], 'terms of its owners'
        if zoo.canonical(source).startswith(zoo.SCHEME):
            terms = zoo.find(source).licence
        experts.append(f'- {key.split(".")[-1]}: `{source}`, {terms}')
    write_checkpoint(folder / 'model.safetensors', weights, facts)
    about = config.get('about')
    card = CARD.read_text().format(
        name=name or str(folder),
        about=f'{about}\n\n' if about else '',
        licence=licence,
        held=held,
        experts='\n'.join(experts) or '- none',
        numbers=numbers,
    )
    for file, content in {'config.py': text, 'README.md': card}.items():
        (folder / file).write_text(content)
        (folder / file).chmod(0o644)
    return folder


def portable(config: Config, model: nn.Module) -> Config:
    """A config whose experts of other libraries need no folder of theirs."""
    config = copy.deepcopy(config)
    for key, expert in experts_in(model).items():
        if hasattr(expert, 'portable_config'):
            *outer, name = key.split('.')
            node = config.model
            for part in outer:
                node = node[part]
            own = {} if isinstance(node[name], str) else node[name]
            node[name] = {**own, **expert.portable_config()}
    return config


def check_classes(
    model: nn.Module, classes: Sequence[str] | Mapping[str, Sequence[str]]
) -> None:
    """Raise ``ValueError`` unless a head has as many classes as names."""
    head = getattr(model, 'cls_head', None)
    sizes = getattr(head, 'sizes', None) or getattr(head, 'num_classes', None)
    is_dict = isinstance(classes, Mapping)
    named = (
        {k: len(v) for k, v in classes.items()} if is_dict else len(classes)
    )
    if sizes not in (None, named):
        raise ValueError(
            f'classes has {named} names, but the head has {sizes} classes; '
            'give the list that the model was trained with'
        )


def push_to_hub(model: nn.Module, repo_id: str, **options: Any) -> str:
    """Put a model into a repository of the Hugging Face Hub.

    The token is that of ``huggingface_hub`` (``hf auth login``).

    Args:
        model: As for :func:`save_pretrained`.
        repo_id: ``owner/name``; made if it is not there.
        **options: Those of :func:`save_pretrained`.

    Returns:
        ``owner/name@revision``, which every entry point loads.
    """
    from huggingface_hub import HfApi

    with TemporaryDirectory() as folder:
        save_pretrained(model, folder, **{'name': repo_id, **options})
        HfApi().create_repo(repo_id, exist_ok=True)
        commit = HfApi().upload_folder(repo_id=repo_id, folder_path=folder)
    return f'{repo_id}@{commit.oid}'


def build_model(cfg: Config, name: str | None = None) -> nn.Module:
    """Build the model of a config, outside of any runner.

    Args:
        cfg: The config.
        name: What carries a config that has no file, for messages.

    Raises:
        UsageError: If a part cannot be built; names it.
    """
    # MMEngine's base classes look their parts up in the scope of the run.
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    with building(cfg, name):
        return MODELS.build(cfg.model)
