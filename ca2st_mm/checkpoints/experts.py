# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the layouts of published experts have in common: a transformer."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from .conversion import (
    Conversion,
    Join,
    RenameTable,
    Rule,
    Source,
    convert,
    key_pattern,
)

_OURS = dict(
    norm1='attention.norm',
    qkv='attention.attn.qkv',
    proj='attention.attn.proj',
    norm2='ffn.norm',
    fc1='ffn.fc1',
    fc2='ffn.fc2',
)


def leaves(theirs: str, ours: str) -> list[Rule]:
    """Rules for the weight and the bias of a module, and nothing else."""
    return [Rule(f'{theirs}.{k}', f'{ours}.{k}') for k in ('weight', 'bias')]


def layer_rules(layer: str, **modules: str) -> list[Rule]:
    """Rules for the modules of a layer.

    Args:
        layer: Their prefix of a layer, with ``{i}``.
        modules: Their name of norm1, qkv, proj, norm2, fc1 and fc2.
    """
    return [
        rule
        for name, theirs in modules.items()
        for rule in leaves(f'{layer}.{theirs}', f'layers.{{i}}.{_OURS[name]}')
    ]


def qkv_join(
    layer: str, kind: str, parts: Iterable[str], optional: str | None = None
) -> Join:
    """Query, key and value of a layer, kept apart, become our qkv.

    Args:
        layer: Their prefix of a layer, with ``{i}``.
        kind: 'weight' or 'bias'.
        parts: Their names under the layer, in the order query, key, value.
        optional: The part that may be absent. A key bias shifts all logits
            of a query alike, so that zeros have the same effect as none.
    """
    return Join(
        tuple(f'{layer}.{part}' for part in parts),
        f'layers.{{i}}.{_OURS["qkv"]}.{kind}',
        f'{layer}.{optional}' if optional else None,
    )


@dataclass(frozen=True)
class ExpertLayout:
    """Names of one layout, relative to the expert inside a larger model.

    Args:
        prefixes: Prefixes under which the expert is found; the first that
            fits.  The empty one means that the file holds the expert alone.
        anchors: Keys of the expert that tell the layout.
        rules: Their keys and ours; none may be missing but the optional.
        joins: Tensors that become one of ours.
        absent: Keys of the expert that belong to another layout.
        ignored: Keys of the expert that are left out, with the reason.
        outside: Keys outside of the prefix that are left out, with the
            reason.
        outside_rules: Keys outside of the prefix that are taken.
        optional: Prefixes of ours that may be missing.
        check: Called with the tensors of the expert; raises if their values
            cannot be held.
    """

    prefixes: tuple[str, ...]
    anchors: tuple[str, ...]
    rules: tuple[Rule, ...]
    joins: tuple[Join, ...] = ()
    absent: tuple[str, ...] = ()
    ignored: Mapping[str, str] | None = None
    outside: Mapping[str, str] | None = None
    outside_rules: tuple[Rule, ...] = ()
    optional: tuple[str, ...] = ()
    check: Callable[[Mapping[str, Tensor]], None] | None = None

    def prefix_of(self, keys: Collection[str]) -> str | None:
        """The prefix under which the expert is, None if it is not there."""
        for prefix in self.prefixes:
            if all(prefix + key in keys for key in self.anchors) and not any(
                prefix + key in keys for key in self.absent
            ):
                return prefix
        return None


def expert_source(
    name: str,
    title: str,
    model: str,
    *layouts: ExpertLayout,
    notes: Iterable[str] = (),
) -> Source:
    """Weights of one expert by somebody else's code.

    Args:
        name: As for :class:`Source`.
        title: As for :class:`Source`.
        model: As for :class:`Source`.
        layouts: Generations of names; the first that fits is read.
        notes: Sentences that go with every conversion.
    """

    def matches(keys: Collection[str]) -> bool:
        return any(layout.prefix_of(keys) is not None for layout in layouts)

    def to_ours(weights: Mapping[str, Tensor]) -> Conversion:
        for layout in layouts:
            prefix = layout.prefix_of(weights)
            if prefix is not None:
                conversion = _convert(layout, prefix, weights, title)
                conversion.notes.extend(notes)
                return conversion
        wanted = ', '.join(repr(key) for key in layouts[0].anchors)
        raise ValueError(f'this is no {title}: it needs the keys {wanted}')

    return Source(name, title, model, matches, to_ours)


def _convert(
    layout: ExpertLayout,
    prefix: str,
    weights: Mapping[str, Tensor],
    title: str,
) -> Conversion:
    if layout.check is not None:
        layout.check(
            {
                key.removeprefix(prefix): value
                for key, value in weights.items()
                if key.startswith(prefix)
            }
        )
    reasons = {prefix + k: why for k, why in (layout.ignored or {}).items()}
    rules = [r._replace(theirs=prefix + r.theirs) for r in layout.rules]
    if prefix:
        reasons |= layout.outside or {}
        rules += layout.outside_rules
    patterns = [(key_pattern(key), why) for key, why in reasons.items()]
    ignored = {
        key: why
        for key in weights
        for pattern, why in patterns
        if pattern.match(key)
    }
    joins = [
        Join(
            tuple(prefix + part for part in join.parts),
            join.ours,
            prefix + join.optional if join.optional else None,
        )
        for join in layout.joins
    ]
    table = RenameTable(title, rules)
    conversion = convert(weights, table, joins, ignored)
    _require_all(layout, conversion.state_dict, rules, joins, title)
    return conversion


def _require_all(
    layout: ExpertLayout,
    ours: Collection[str],
    rules: Iterable[Rule],
    joins: Iterable[Join],
    title: str,
) -> None:
    pairs = [(j.ours, j.parts[0]) for j in joins]
    pairs += [(r.ours, r.theirs) for r in rules]
    numbers = (re.match(r'layers\.(\d+)\.', key) for key in ours)
    layers = 1 + max((int(m.group(1)) for m in numbers if m), default=0)
    for our, their in pairs:
        if our.startswith(layout.optional):
            continue
        for i in range(layers) if '{i}' in our else [0]:
            if our.replace('{i}', str(i)) not in ours:
                raise KeyError(
                    f'{title}: the checkpoint lacks '
                    f'{their.replace("{i}", str(i))!r}; it is incomplete or '
                    'of another model'
                )
