# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From a foreign state dict to ours, with an account of every tensor.

A :class:`RenameTable` holds the names of two layouts, a :class:`Join` says
which tensors of theirs are one of ours, and :func:`convert` applies both: a
tensor that finds no place is an error.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)


@dataclass
class Conversion:
    """A converted state dict and what became of every tensor.

    Args:
        state_dict: Parameters by our name.
        ignored: Their keys that are left out, each with the reason.
        origins: Our name -> their keys that the tensor is made of.
        notes: Sentences that the user should read.
    """

    state_dict: dict[str, Tensor]
    ignored: dict[str, str] = field(default_factory=dict)
    origins: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def reasons(self) -> dict[str, list[str]]:
        """The ignored keys by reason."""
        reasons: dict[str, list[str]] = {}
        for key, why in self.ignored.items():
            reasons.setdefault(why, []).append(key)
        return reasons

    def account(self) -> list[str]:
        """What a log should say: the keys left out by reason, the notes."""
        left_out = [
            f'ignored {len(v)}: {k}' for k, v in self.reasons().items()
        ]
        return left_out + self.notes


class Source(NamedTuple):
    """A layout of names that we read.

    Attributes:
        name: Short name.
        title: Name for messages.
        model: Whose weights it holds: 'clip', 'videomae' or 'ast' for one
            expert, 'cast', 'cava' or 'ca2st' for a whole recognizer, 'any'
            for our own names.
        matches: Whether names (a collection of keys) are of this layout.
        to_ours: A state dict -> :class:`Conversion`.  ``KeyError`` names a
            key that is unknown or missing; ``ValueError`` says that the
            layout is another, or that the values cannot be held.
    """

    name: str
    title: str
    model: str
    matches: Callable[[Collection[str]], bool]
    to_ours: Callable[[Mapping[str, Tensor]], Conversion]


class Rule(NamedTuple):
    """A key, or a prefix of keys up to a dot, in both layouts.

    ``{i}`` stands for a layer index.  ``new_axes`` leading axes of size 1 are
    added on the way from their layout to ours.
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
        """Our name of one of their keys; ``KeyError`` if no rule matches."""
        return self._translate(key, self._to_ours)[0]

    def to_ours(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename from their layout to ours.

        Raises:
            KeyError: If a key matches no rule, or two become one.
        """
        out: dict[str, Tensor] = {}
        for key, value in state_dict.items():
            name, rule = self._translate(key, self._to_ours)
            self._insert(out, name, value[(None,) * rule.new_axes], key)
        return out

    def to_theirs(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename from our layout to theirs.

        Raises:
            KeyError: If a key matches no rule, or two become one.
        """
        out: dict[str, Tensor] = {}
        for key, value in state_dict.items():
            name, rule = self._translate(key, self._to_theirs)
            self._insert(out, name, value[(0,) * rule.new_axes], key)
        return out

    def _translate(self, key: str, table: list) -> tuple[str, Rule]:
        for pattern, template, rule in table:
            if match := pattern.match(key):
                name = template
                if match.groups():
                    name = template.replace('{i}', match.group(1))
                return name + key[match.end() :], rule
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

    def find(self, keys: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Our key -> their keys, for every layer that has a required part.

        Raises:
            KeyError: If a required part is missing next to another.
        """
        required = [part for part in self.parts if part != self.optional]
        layers = {
            match.group(1)
            for part in required
            for key in keys
            if (match := key_pattern(part).fullmatch(key))
        }
        found = {}
        for layer in sorted(layers, key=int):
            names = [part.replace('{i}', layer) for part in required]
            there = [name for name in names if name in keys]
            if missing := [name for name in names if name not in keys]:
                raise KeyError(
                    f'{there[0]!r} has no {missing[0]!r} next to it; the '
                    'checkpoint is incomplete'
                )
            ours = self.ours.replace('{i}', layer)
            found[ours] = tuple(p.replace('{i}', layer) for p in self.parts)
        return found


def convert(
    state_dict: Mapping[str, Tensor],
    table: RenameTable,
    joins: Iterable[Join] = (),
    ignored: Mapping[str, str] | None = None,
) -> Conversion:
    """Rename, join and widen to float32; every key has to find its place.

    Args:
        state_dict: Parameters by their name.
        table: The key table.
        joins: Tensors of theirs that become one of ours.
        ignored: Their keys that are left out, with the reason.

    Returns:
        Our state dict and the account of it.

    Raises:
        KeyError: If a key is unknown or holds integers, a part is missing,
            or two keys become one.

    Example:
        >>> table = RenameTable('theirs', [Rule('fc', 'head')])
        >>> list(convert({'fc.bias': torch.zeros(1)}, table).state_dict)
        ['head.bias']
    """
    ignored = dict(ignored or {})
    kept = {k: v for k, v in state_dict.items() if k not in ignored}
    for key, value in kept.items():
        # Joining would turn integers, e.g. a stray index table, into floats.
        if not value.is_floating_point():
            raise KeyError(
                f'{table.name}: {key!r} holds {value.dtype}, which is no '
                'weight'
            )
    out: dict[str, Tensor] = {}
    origins: dict[str, tuple[str, ...]] = {}
    for join in joins:
        for ours, keys in join.find(kept).items():
            there = tuple(key for key in keys if key in kept)
            if ours in out:
                raise KeyError(f'{there[0]!r} makes a second {ours!r}')
            blank = torch.zeros_like(kept[there[0]])
            out[ours] = torch.cat([kept.get(k, blank) for k in keys])
            origins[ours] = there
    joined = {key for keys in origins.values() for key in keys}
    rest = {key: value for key, value in kept.items() if key not in joined}
    for ours, value in table.to_ours(rest).items():
        if ours in out:
            raise KeyError(
                f'{table.name}: {ours!r} is there both whole and in parts '
                f'({origins[ours][0]!r})'
            )
        out[ours] = value
    origins |= {table.our_name(key): (key,) for key in rest}
    half = {key: v.dtype for key, v in out.items() if v.dtype in HALF}
    notes = []
    if half:
        kinds = sorted(str(k).removeprefix('torch.') for k in {*half.values()})
        notes = [
            f'{len(half)} tensors of {" and ".join(kinds)} became float32'
        ]
    out = {k: v.float() if k in half else v for k, v in out.items()}
    return Conversion(out, ignored, origins, notes)
