# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Loading an expert's weights from a file, with nothing lost in silence."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mmengine.logging import print_log
from mmengine.runner.checkpoint import _load_checkpoint
from torch import Tensor

from ca2st_mm.checkpoints import (
    OURS,
    Conversion,
    Source,
    detect_source,
    unwrap,
)

if TYPE_CHECKING:
    from .expert import TransformerExpert

# Models of one expert; a checkpoint of another one is refused by its name.
EXPERT_MODELS = frozenset(('clip', 'videomae', 'ast'))


def _select(
    state_dict: Mapping[str, Tensor], prefix: str
) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value
        for key, value in state_dict.items()
        if key.startswith(prefix)
    }


def _to_ours(
    expert: 'TransformerExpert', state_dict: dict[str, Tensor]
) -> tuple[Conversion, Source]:
    """Convert, and say from what."""
    if expert.weights_model is None:
        return OURS.to_ours(state_dict), OURS
    source = detect_source(state_dict)
    if source.model in EXPERT_MODELS - {expert.weights_model}:
        raise ValueError(f'it holds {source.title} ({source.name})')
    try:
        return source.to_ours(state_dict), source
    except KeyError as error:
        raise ValueError(error.args[0]) from error


def _convert(
    expert: 'TransformerExpert',
    state_dict: dict[str, Tensor],
    prefix: str | None,
) -> tuple[Conversion, Source]:
    """Convert what stands under the prefix.

    The prefix is a front of the names in the file or, for a checkpoint of a
    whole model by its authors, of our names of it.
    """
    if not prefix:
        return _to_ours(expert, state_dict)
    prefix = prefix.rstrip('.') + '.'
    if selected := _select(state_dict, prefix):
        conversion, source = _to_ours(expert, selected)
        others = [key for key in state_dict if not key.startswith(prefix)]
    else:
        conversion, source = _to_ours(expert, state_dict)
        whole = conversion.state_dict
        conversion.state_dict = _select(whole, prefix)
        others = [key for key in whole if not key.startswith(prefix)]
    if not conversion.state_dict:
        raise ValueError(
            f'no key begins with the prefix {prefix!r}, the first is '
            f'{min(state_dict)!r}'
        )
    conversion.ignored |= dict.fromkeys(others, f'outside of {prefix!r}')
    return conversion, source


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

    Published weights of any known layout are converted on the way; the log
    names the layout and what was left out.

    Args:
        expert: The expert to fill.
        init_cfg: type 'Pretrained', ``checkpoint`` (path or URL) and
            optionally ``prefix``: 'backbone.' for a checkpoint of a
            recognizer that was trained with this expert alone,
            'backbone.experts.spatial.' for one of a multi-expert model, ours
            or its authors'.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If ``init_cfg`` is of another type, or the keys and shapes
            are not those of this expert.
    """
    name = type(expert).__name__
    is_dict = isinstance(init_cfg, Mapping)
    if not is_dict or init_cfg.get('type') != 'Pretrained':
        raise ValueError(
            f"{name} takes init_cfg=dict(type='Pretrained', checkpoint=...), "
            f'got {init_cfg!r}; leave init_cfg out to train from scratch'
        )
    checkpoint = init_cfg['checkpoint']
    refusal = f'{checkpoint!r} is not a checkpoint of this {name}'
    try:
        weights, how = unwrap(_load_checkpoint(checkpoint, 'cpu'))
        conversion, source = _convert(expert, weights, init_cfg.get('prefix'))
        state_dict = conversion.state_dict
        # Weights of ours that fit have been fitted already.
        if source.model in EXPERT_MODELS or _misfit(expert, state_dict):
            expert.fit_state_dict(state_dict)
    except ValueError as error:
        raise ValueError(f'{refusal}: {error}') from error
    if problem := _misfit(expert, state_dict):
        raise ValueError(
            f'{refusal}: {problem}; check arch, input size and prefix'
        )
    missing = [key for key in expert.state_dict() if key not in state_dict]
    expert.load_state_dict(state_dict, strict=False)
    lines = [
        f'{name}: loaded {len(state_dict)} tensors from {checkpoint} '
        f'(read as {source.title} ({source.name}) in {how}); '
        f'{len(missing)} start fresh (adapters, final norm)',
        *conversion.account(),
    ]
    print_log('; '.join(lines), logger='current')
