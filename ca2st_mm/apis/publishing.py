# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checkpoints to share: no optimizer, a hash in the name, facts inside."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
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

CARD = """\
---
license: other
library_name: ca2st_mm
tags: [video-classification, ca2st_mm]
---
# {title}

```python
import ca2st_mm
recognizer = ca2st_mm.Recognizer.from_pretrained({name!r})
recognizer.predict('clip.mp4')
```

Licence of these weights: {licence}. {kind}

Weights that the experts begin with, under terms of their own:

{experts}

Numbers: {numbers}
"""


def save_pretrained(
    model: nn.Module,
    folder: str | Path,
    classes: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    delta: bool = False,
    licence: str = 'unknown',
    numbers: str = 'none were measured.',
    push_to: str | None = None,
) -> Path:
    """Write a model as a folder that loads by its name alone.

    It holds ``model.safetensors`` (with config and class names inside),
    ``config.py`` to read, and ``README.md``, a model card.  The folder, or
    the repository it is pushed to, is a source for
    :meth:`Recognizer.from_pretrained`, :func:`get_model`, ``load_from`` and
    the tools.

    Args:
        model: A recognizer with its config as ``model.cfg``, as
            :func:`get_model` returns it.
        folder: Where to write.
        classes: Class names, or those of each task.
        delta: Whether to leave out the frozen weights of the experts; they
            come back from the experts' ``init_cfg``.
        licence: Terms of these weights.
        numbers: Results and who measured them, for the card.
        push_to: ``owner/name`` of a repository on the Hugging Face Hub that
            the folder is uploaded to as well.

    Returns:
        The folder.

    Raises:
        ValueError: If the model has no config, or the frozen weights are not
            those the config loads.
    """
    config = getattr(model, 'cfg', None)
    if isinstance(config, dict):
        config = Config(config)
    if not isinstance(config, Config):
        raise ValueError(
            'the model has no config; build it with get_model, or set '
            'model.cfg to its Config'
        )
    folder = Path(folder)
    text = config.pretty_text
    facts = dict(ca2st_mm=__version__, config=text, licence=licence)
    if classes:
        facts['classes'] = json.dumps(classes)
    weights = _delta_of(model, config) if delta else model.state_dict()
    write_checkpoint(folder / 'model.safetensors', weights, facts)
    (folder / 'config.py').write_text(text)
    kind = 'The file holds all weights.'
    if delta:
        kind = 'The file holds what was trained; the rest is fetched.'
    card = CARD.format(
        title=folder.resolve().name,
        name=push_to or str(folder),
        licence=licence,
        kind=kind,
        experts='\n'.join(_experts_of(config)) or '- none',
        numbers=numbers,
    )
    (folder / 'README.md').write_text(card)
    if push_to:
        from huggingface_hub import HfApi

        HfApi().create_repo(push_to, exist_ok=True)
        HfApi().upload_folder(repo_id=push_to, folder_path=folder)
    return folder


def _experts_of(config: Config) -> Iterator[str]:
    """A line for the pretrained weights of each expert, with their terms."""
    backbone = config.model.backbone
    for name, expert in backbone.get('experts', dict(expert=backbone)).items():
        source = (expert.get('init_cfg') or {}).get('checkpoint')
        if source is None:
            continue
        licence = 'unknown'
        if zoo.canonical(source).startswith(zoo.SCHEME):
            licence = zoo.find(zoo.canonical(source)).licence
        yield f'- {name}: `{source}`, {licence}'


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
        config: Config of the model. Needed to make a whole checkpoint of a
            delta one, or a delta one of a whole one.
        delta: Whether to leave out the frozen weights of the experts.
        metadata: Further text entries, such as ``licence``. What is known is
            added: config, class names, version, SHA-256 of the source.

    Returns:
        The file that was written.

    Raises:
        FileNotFoundError: If the checkpoint is not there.
        ValueError: If the config is needed and not given, or the frozen
            weights are not those the config loads.
    """
    stored = read_checkpoint(checkpoint)
    state_dict = stored.get('state_dict', stored)
    if is_delta(state_dict) != delta:
        if config is None:
            kind = 'a delta' if not delta else 'a whole'
            raise ValueError(
                f'{str(checkpoint)!r} is {kind} checkpoint; name its config '
                'to write the other kind'
            )
        model = _load(config, state_dict)
        state_dict = _delta_of(model, config) if delta else model.state_dict()
    facts = _facts(stored.get('meta') or {}, Path(checkpoint))
    out = Path(out)
    # Not under its own name, which may be that of another file, or the source.
    part = out.with_name(f'.{out.stem}.part{out.suffix}')
    write_checkpoint(part, state_dict, {**facts, **(metadata or {})})
    named = out.with_name(f'{out.stem}-{sha256_of(part)[:8]}{out.suffix}')
    return part.replace(named)


def is_delta(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether frozen weights are left out of a state dict."""
    return any(key.split('.')[-1] == FINGERPRINT for key in state_dict)


def _load(config: Config, state_dict: Mapping[str, Tensor]) -> nn.Module:
    model = build_model(config)
    load_weights(model, state_dict)
    return model


def _delta_of(model: nn.Module, config: Config) -> dict[str, Tensor]:
    """A delta whose frozen weights the config is known to bring back."""
    prints = {
        name: fingerprint(expert)
        for name, expert in model.named_modules()
        if isinstance(expert, TransformerExpert) and expert.init_cfg
    }
    delta = without_frozen(model, model.state_dict(), prints)
    # Refuses if init_cfg brings other weights.
    _load(config, delta)
    return delta


def _facts(meta: Mapping[str, Any], source: Path) -> dict[str, str]:
    facts = dict(ca2st_mm=__version__, source_sha256=sha256_of(source))
    if isinstance(meta.get('cfg'), str):
        facts['config'] = meta['cfg']
    classes = (meta.get('dataset_meta') or {}).get('classes')
    if classes:
        # A list, or one for verbs and one for nouns.
        facts['classes'] = json.dumps(classes)
    if 'frozen_experts' in meta:
        facts['frozen_experts'] = json.dumps(meta['frozen_experts'])
    # Publishing again keeps what is known already.
    return {**{k: v for k, v in meta.items() if isinstance(v, str)}, **facts}
