# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Models to share: one folder, one repository of the Hub, or one file."""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.config import Config
from torch import Tensor, nn

from ca2st_mm import zoo
from ca2st_mm.checkpoints import load_weights
from ca2st_mm.checkpoints.delta import (
    FINGERPRINT,
    fingerprint,
    without_frozen,
)
from ca2st_mm.checkpoints.files import read_checkpoint, write_checkpoint
from ca2st_mm.models.backbones.expert import TransformerExpert
from ca2st_mm.utils.hashing import sha256_of
from ca2st_mm.version import __version__

from .models import build_model
from .stored_config import stored_classes, stored_config

CARD = """\
---
license: other
library_name: ca2st_mm
tags: [video-classification, ca2st_mm]
---
# {name}

```python
import ca2st_mm
recognizer = ca2st_mm.Recognizer.from_pretrained({name!r})
recognizer.predict('clip.mp4')
```

{about}Licence of these weights: {licence}. {kind}

Weights that the experts begin with, under terms of their own:

{experts}

Numbers: {numbers}
"""


def save_pretrained(
    model: nn.Module,
    folder: str | Path,
    delta: bool = False,
    licence: str = 'unknown',
    numbers: str = 'none were measured.',
    name: str | None = None,
) -> Path:
    """Write a model as a folder that loads by its name alone.

    It holds ``model.safetensors`` (with config and class names inside),
    ``config.py`` to read, and ``README.md``, a model card.  It is a source
    for :func:`get_model`, :meth:`Recognizer.from_pretrained`, ``load_from``
    and the tools.

    Args:
        model: What :func:`get_model` returns: a recognizer with its config as
            ``cfg`` and, if classes have names, ``dataset_meta``.
        folder: Where to write.
        delta: Whether to leave out the frozen weights of the experts; they
            come back from the experts' ``init_cfg``.
        licence: Terms of these weights.
        numbers: Results and who measured them, for the card.
        name: What the card calls the model; the folder if left out.

    Returns:
        The folder.

    Raises:
        ValueError: If the model has no config, or the frozen weights are not
            those the config loads.

    Example:
        >>> folder = save_pretrained(recognizer.model, 'mine', licence='CC0')
        >>> sorted(path.name for path in folder.iterdir())
        ['README.md', 'config.py', 'model.safetensors']
    """
    config = getattr(model, 'cfg', None)
    if isinstance(config, dict):
        config = Config(config)
    if not isinstance(config, Config):
        raise ValueError(
            'the model has no config; build it with get_model, or set '
            'model.cfg to its Config'
        )
    folder, text = Path(folder), config.pretty_text
    facts = dict(ca2st_mm=__version__, config=text, licence=licence)
    classes = (getattr(model, 'dataset_meta', None) or {}).get('classes')
    if classes:
        facts['classes'] = json.dumps(classes)
    if temperature := getattr(model, 'temperature', None):
        facts['temperature'] = json.dumps(temperature)
    weights = trained_weights(model, config) if delta else model.state_dict()
    write_checkpoint(folder / 'model.safetensors', weights, facts)
    about = config.get('about')
    card = CARD.format(
        name=name or str(folder),
        about=f'{about}\n\n' if about else '',
        licence=licence,
        kind='The file holds what was trained; the rest is fetched.'
        if delta
        else 'The file holds all weights.',
        experts='\n'.join(
            f'- {name.split(".")[-1]}: `{source}`, {_licence_of(source)}'
            for name, expert in _pretrained_experts(model).items()
            for source in [expert.init_cfg['checkpoint']]
        )
        or '- none',
        numbers=numbers,
    )
    for file, content in {'config.py': text, 'README.md': card}.items():
        (folder / file).write_text(content)
        (folder / file).chmod(0o644)
    return folder


def push_to_hub(model: nn.Module, repo_id: str, **options: Any) -> str:
    """Put a model into a repository of the Hugging Face Hub.

    The token is that of ``huggingface_hub`` (``hf auth login``).

    Args:
        model: As for :func:`save_pretrained`.
        repo_id: ``owner/name``; made if it is not there.
        **options: Those of :func:`save_pretrained`.

    Returns:
        ``owner/name@revision``, a source as the folder of
        :func:`save_pretrained` is.
    """
    from huggingface_hub import HfApi

    with TemporaryDirectory() as folder:
        save_pretrained(model, folder, **{'name': repo_id, **options})
        HfApi().create_repo(repo_id, exist_ok=True)
        commit = HfApi().upload_folder(repo_id=repo_id, folder_path=folder)
    return f'{repo_id}@{commit.oid}'


def publish(
    checkpoint: str | Path,
    out: str | Path,
    config: Config | None = None,
    delta: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write the weights of a training checkpoint for others to use.

    Args:
        checkpoint: What training wrote, whole or delta.
        out: Name to write, ending in ``.safetensors`` or ``.pth``; the first
            eight digits of the file's SHA-256 are added to it.
        config: Config of the model, where the checkpoint has none.
        delta: Whether to leave out the frozen weights of the experts.
        metadata: Further text entries, such as ``licence``. What is known is
            added: config, class names, version, SHA-256 of the source.

    Returns:
        The file that was written.

    Raises:
        FileNotFoundError: If the checkpoint is not there.
        ValueError: If the config is needed and not known, or the frozen
            weights are not those the config loads.
    """
    stored, out = read_checkpoint(checkpoint), Path(out)
    state_dict = stored.get('state_dict', stored)
    if is_delta(state_dict) != delta:
        config = config or stored_config(stored, str(checkpoint))
        model = build_model(config)
        load_weights(model, state_dict)
        state_dict = (
            trained_weights(model, config) if delta else model.state_dict()
        )
    known = dict(stored.get('meta') or {}, classes=stored_classes(stored))
    for key in ('classes', 'frozen_experts', 'temperature'):
        if known.get(key) and not isinstance(known[key], str):
            known[key] = json.dumps(known[key])
    if 'cfg' in known:
        known['config'] = known.pop('cfg')
    # Publishing again keeps what is known already.
    facts = {k: v for k, v in known.items() if isinstance(v, str)}
    facts.update(ca2st_mm=__version__, source_sha256=sha256_of(checkpoint))
    # Not under its own name, which may be that of another file, or the source.
    part = out.with_name(f'.{out.stem}.part{out.suffix}')
    write_checkpoint(part, state_dict, {**facts, **(metadata or {})})
    named = out.with_name(f'{out.stem}-{sha256_of(part)[:8]}{out.suffix}')
    return part.replace(named)


def is_delta(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether frozen weights are left out of a state dict."""
    return any(key.split('.')[-1] == FINGERPRINT for key in state_dict)


def trained_weights(model: nn.Module, config: Config) -> dict[str, Tensor]:
    """A delta of a model, which its config is known to complete.

    Raises:
        ValueError: If ``init_cfg`` brings other frozen weights.
    """
    prints = {
        name: fingerprint(expert)
        for name, expert in _pretrained_experts(model).items()
    }
    delta = without_frozen(model, model.state_dict(), prints)
    load_weights(build_model(config), delta)
    return delta


def _pretrained_experts(model: nn.Module) -> dict[str, TransformerExpert]:
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, TransformerExpert) and module.init_cfg
    }


def _licence_of(source: str) -> str:
    source = zoo.canonical(source)
    if source.startswith(zoo.SCHEME):
        return zoo.find(source).licence
    return 'terms of its owners'
