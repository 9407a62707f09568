# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Loading an expert's weights from a file, with nothing lost in silence."""

from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.logging import print_log
from mmengine.runner.checkpoint import _load_checkpoint
from torch import Tensor

if TYPE_CHECKING:
    from .expert import TransformerExpert


def _read(checkpoint: str) -> dict[str, Tensor]:
    is_local = '://' not in checkpoint
    if is_local and not Path(checkpoint).is_file():
        raise FileNotFoundError(
            f'expert weights {checkpoint!r} are not there; put the file at '
            'that path or point init_cfg.checkpoint to it'
        )
    loaded = _load_checkpoint(checkpoint, map_location='cpu')
    return loaded.get('state_dict', loaded)


def _select(
    state_dict: dict[str, Tensor], prefix: str | None
) -> dict[str, Tensor]:
    if not prefix:
        return dict(state_dict)
    prefix = prefix.rstrip('.') + '.'
    return {
        key.removeprefix(prefix): value
        for key, value in state_dict.items()
        if key.startswith(prefix)
    }


def _optional_keys(expert: 'TransformerExpert') -> set[str]:
    # Adapters are ours; checkpoints from self-supervised training have no
    # norm after the pooling.
    parts = expert.parts()
    optional = {id(p) for p in parts['adapters'] + parts['norm']}
    return {k for k, p in expert.named_parameters() if id(p) in optional}


def _misfit(
    expert: 'TransformerExpert', state_dict: dict[str, Tensor]
) -> str | None:
    own = expert.state_dict()
    if unknown := [key for key in state_dict if key not in own]:
        return f'{len(unknown)} keys are unknown, e.g. {unknown[0]!r}'
    if missing := set(own) - set(state_dict) - _optional_keys(expert):
        return f'{len(missing)} keys are missing, e.g. {min(missing)!r}'
    for key, value in state_dict.items():
        if value.shape != own[key].shape:
            return (
                f'{key!r} has the shape {tuple(value.shape)} instead of '
                f'{tuple(own[key].shape)}'
            )
    return None


def load_pretrained(expert: 'TransformerExpert', init_cfg: dict) -> None:
    """Load a checkpoint of one expert strictly.

    Args:
        expert: The expert to fill.
        init_cfg: type 'Pretrained', ``checkpoint`` (path or URL) and
            optionally ``prefix`` (e.g. 'backbone.' for a checkpoint of a
            recognizer that was trained with this expert alone).

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If ``init_cfg`` is of another type, or the keys and shapes
            are not those of this expert.
    """
    name = type(expert).__name__
    if init_cfg.get('type') != 'Pretrained':
        raise ValueError(
            f"{name} takes init_cfg of type 'Pretrained', got "
            f'{init_cfg.get("type")!r}; leave init_cfg out to train from '
            'scratch'
        )
    checkpoint = init_cfg['checkpoint']
    state_dict = _select(_read(checkpoint), init_cfg.get('prefix'))
    expert.fit_state_dict(state_dict)
    if problem := _misfit(expert, state_dict):
        raise ValueError(
            f'{checkpoint!r} is not a checkpoint of this {name}: {problem}; '
            'check arch, input size and prefix, or convert the file first'
        )
    missing = [key for key in expert.state_dict() if key not in state_dict]
    expert.load_state_dict(state_dict, strict=False)
    print_log(
        f'{name}: loaded {len(state_dict)} tensors from {checkpoint}; '
        f'{len(missing)} start fresh (adapters, final norm)',
        logger='current',
    )
