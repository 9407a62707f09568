# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checkpoints without the frozen weights of the experts.

A *delta* checkpoint keeps one fingerprint for each expert instead.  An expert
that meets it in a state dict takes the frozen weights from itself or from its
``init_cfg``; other weights are refused.
"""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .files import CheckpointError

FINGERPRINT = 'frozen_sha256'


def experts_in(model: nn.Module) -> dict[str, nn.Module]:
    """The experts of a model by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if hasattr(module, 'frozen_parts')
    }


def frozen_parameters(expert: nn.Module) -> dict[str, Tensor]:
    """Parameters of the parts that the config freezes, by name.

    Not by ``requires_grad``: averaged copies of a model get no gradient.
    """
    parts = expert.parts()
    frozen = {id(p) for part in expert.frozen_parts for p in parts[part]}
    return {n: p for n, p in expert.named_parameters() if id(p) in frozen}


def fingerprint(expert: nn.Module) -> Tensor:
    """SHA-256 of names, shapes and values of the frozen parameters.

    It is a tensor of 32 bytes (uint8), so that it fits a state dict.
    """
    digest = hashlib.sha256()
    for name, value in sorted(frozen_parameters(expert).items()):
        value = value.detach().float().cpu().contiguous()
        digest.update(f'{name} {tuple(value.shape)}'.encode())
        digest.update(value.numpy().data)
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def expect_fingerprint(
    expert: nn.Module, state_dict: dict[str, Tensor], prefix: str
) -> None:
    """Put the frozen weights of an expert back into a delta, in place.

    Args:
        expert: A :class:`TransformerExpert`.
        state_dict: Of the whole model.
        prefix: Prefix of the expert's names in it.

    Raises:
        CheckpointError: If the expert cannot get the weights that it needs.
    """
    wanted = state_dict.pop(prefix + FINGERPRINT, None)
    if wanted is None:
        return
    found, wanted = fingerprint(expert), wanted.cpu()
    source = (expert.init_cfg or {}).get('checkpoint')
    if not torch.equal(found, wanted) and source and not expert.is_init:
        expert.init_weights()
        found = fingerprint(expert)
    if not torch.equal(found, wanted):
        hashes = [bytes(x.tolist()).hex()[:12] for x in (wanted, found)]
        raise CheckpointError(
            'this checkpoint leaves out the frozen weights of '
            f'{prefix.rstrip(".") or type(expert).__name__} (sha256 '
            f'{hashes[0]}...), but the model has those of {source} '
            f'({hashes[1]}...); give that expert the init_cfg it was trained '
            'with, or load a full export (ca2st publish)'
        )
    for key, value in frozen_parameters(expert).items():
        state_dict.setdefault(prefix + key, value.detach())


def without_frozen(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    fingerprints: Mapping[str, Tensor],
    prefix: str = '',
) -> dict[str, Tensor]:
    """The tensors that were trained, and one fingerprint for each expert.

    Args:
        model: The model that the state dict is of.
        state_dict: All its tensors.
        fingerprints: Fingerprint by name of the expert in the model, such as
            'backbone.experts.spatial'.
        prefix: What stands before every name in the state dict.
    """
    delta, experts = dict(state_dict), experts_in(model)
    for name, value in fingerprints.items():
        front = f'{prefix}{name}.' if name else prefix
        for key in frozen_parameters(experts[name]):
            delta.pop(front + key, None)
        delta[front + FINGERPRINT] = value
    return delta
