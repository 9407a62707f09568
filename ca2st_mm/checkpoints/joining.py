# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Tensors that other layouts keep apart and ours holds in one."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Join(NamedTuple):
    """Tensors stacked along their first axis into one of ours.

    Args:
        parts: Their keys in order, with ``{i}`` for the layer index.
        ours: Our key, with ``{i}``.
        optional: The one part that may be absent; it becomes zeros.
    """

    parts: tuple[str, ...]
    ours: str
    optional: str | None = None

    def find(self, keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Our key -> their keys, for every layer that has a required part.

        Raises:
            KeyError: If a required part is missing beside another.
        """
        keys = set(keys)
        required = [part for part in self.parts if part != self.optional]
        layers = {
            match.group(1)
            for part in required
            for key in keys
            if (match := _full_pattern(part).fullmatch(key))
        }
        found = {}
        for layer in sorted(layers, key=int):
            names = [part.replace('{i}', layer) for part in required]
            there = [name for name in names if name in keys]
            if missing := [name for name in names if name not in keys]:
                raise KeyError(
                    f'{there[0]!r} has no {missing[0]!r} beside it; the '
                    'checkpoint is incomplete'
                )
            ours = self.ours.replace('{i}', layer)
            found[ours] = tuple(p.replace('{i}', layer) for p in self.parts)
        return found


def _full_pattern(template: str) -> re.Pattern:
    return re.compile(re.escape(template).replace(r'\{i\}', r'(\d+)'))


def join_parts(
    state_dict: Mapping[str, Tensor], joins: Iterable[Join]
) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
    """Join what belongs together.

    Args:
        state_dict: Parameters by their name.
        joins: What to join.

    Returns:
        The joined tensors by our name, and their keys that each is made of.

    Raises:
        KeyError: If a part is missing, or two joins make the same tensor.
    """
    joined: dict[str, Tensor] = {}
    origins: dict[str, tuple[str, ...]] = {}
    for rule in joins:
        for ours, keys in rule.find(state_dict).items():
            there = tuple(key for key in keys if key in state_dict)
            if ours in joined:
                raise KeyError(f'{there[0]!r} makes a second {ours!r}')
            blank = torch.zeros_like(state_dict[there[0]])
            joined[ours] = torch.cat([state_dict.get(k, blank) for k in keys])
            origins[ours] = there
    return joined, origins
