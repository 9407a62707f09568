# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checkpoints of training as one file to share."""

import json
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from torch import Tensor

from ca2st_mm.checkpoints import load_weights
from ca2st_mm.checkpoints.delta import FINGERPRINT
from ca2st_mm.checkpoints.files import read_checkpoint, write_checkpoint
from ca2st_mm.checkpoints.sharing import build_model, trained_weights
from ca2st_mm.utils.files import sha256_of
from ca2st_mm.version import __version__

from .stored_config import stored_classes, stored_config


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
    for key in ('classes', 'frozen_experts'):
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
