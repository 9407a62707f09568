# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Two-way key tables: rename a state dict, or say loudly what does not fit."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor


class Rule(NamedTuple):
    """A key, or the front of keys up to a dot, on both sides.

    ``{i}`` stands for a layer index.  ``new_axes`` leading axes of size 1 are
    added on the way from the other side to ours.
    """

    theirs: str
    ours: str
    new_axes: int = 0


def key_pattern(template: str) -> re.Pattern:
    """What a template matches at the start of a key, up to a dot or the end.

    ``{i}`` in the template captures a layer index.
    """
    escaped = re.escape(template).replace(re.escape('{i}'), r'(\d+)')
    return re.compile(escaped + r'(?=\.|$)')


class RenameTable:
    """A bijective table of :class:`Rule` entries.

    Args:
        name: What the table describes; opens every error message.
        rules: The entries. The longest that matches wins.
    """

    def __init__(self, name: str, rules: Iterable[Rule]) -> None:
        self.name = name
        theirs = sorted(rules, key=lambda r: len(r.theirs), reverse=True)
        ours = sorted(theirs, key=lambda r: len(r.ours), reverse=True)
        self._to_ours = [(key_pattern(r.theirs), r.ours, r) for r in theirs]
        self._to_theirs = [(key_pattern(r.ours), r.theirs, r) for r in ours]

    def our_name(self, key: str) -> str:
        """Our name of one of their keys.

        Raises:
            KeyError: If the key matches no rule.
        """
        return self._translate(key, self._to_ours)[0]

    def to_ours(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename from their layout to ours.

        Raises:
            KeyError: If a key matches no rule, or two become one.
        """
        out: dict[str, Tensor] = {}
        for key, value in state_dict.items():
            name, rule = self._translate(key, self._to_ours)
            value = value[(None,) * rule.new_axes]
            self._insert(out, name, value, key)
        return out

    def to_theirs(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename from our layout to theirs.

        Raises:
            KeyError: If a key matches no rule, or two become one.
        """
        out: dict[str, Tensor] = {}
        for key, value in state_dict.items():
            name, rule = self._translate(key, self._to_theirs)
            value = value[(0,) * rule.new_axes]
            self._insert(out, name, value, key)
        return out

    def _translate(self, key: str, table: list) -> tuple[str, Rule]:
        for pattern, template, rule in table:
            if match := pattern.match(key):
                front = template
                if match.groups():
                    front = template.replace('{i}', match.group(1))
                return front + key[match.end() :], rule
        raise KeyError(
            f'{self.name}: no rule for the key {key!r}; the checkpoint is of '
            'another model or a newer layout'
        )

    def _insert(
        self, out: dict[str, Tensor], name: str, value: Tensor, key: str
    ) -> None:
        if name in out:
            raise KeyError(f'{self.name}: {key!r} is a second {name!r}')
        out[name] = value
