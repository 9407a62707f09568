# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Freezing by part of a model, never by fragments of parameter names."""

from collections.abc import Iterable, Mapping

from torch import nn


def freeze_parts(
    parts: Mapping[str, Iterable[nn.Parameter]], frozen: Iterable[str]
) -> None:
    """Stop the gradient of all parameters in the named parts.

    Args:
        parts: Parameters by name of the part.
        frozen: Names of the parts to freeze.

    Raises:
        ValueError: If a part does not exist.
    """
    if unknown := set(frozen) - set(parts):
        raise ValueError(
            f'frozen_parts may name {sorted(parts)}, got {sorted(unknown)}'
        )
    for name in frozen:
        for parameter in parts[name]:
            parameter.requires_grad_(False)
