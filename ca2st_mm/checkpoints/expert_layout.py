# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""One layout in which others publish the weights of one of our experts."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from .conversion import Conversion, convert
from .joining import Join
from .renaming import RenameTable, Rule, key_pattern

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
        layer: Their front of a layer, with ``{i}``.
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
        layer: Their front of a layer, with ``{i}``.
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
        fronts: Fronts under which the expert is found; the first that fits.
            The empty one means that the file holds the expert alone.
        anchors: Keys of the expert that tell the layout.
        rules: Their keys and ours; none may be missing but the optional.
        joins: Tensors that become one of ours.
        absent: Keys of the expert that belong to another layout.
        ignored: Keys of the expert that are left out, with the reason.
        beside: Keys outside of the front that are left out, with the reason.
        beside_rules: Keys outside of the front that are taken.
        optional: Fronts of ours that may be missing.
        check: Called with the tensors of the expert; raises if their values
            cannot be held.
    """

    fronts: tuple[str, ...]
    anchors: tuple[str, ...]
    rules: tuple[Rule, ...]
    joins: tuple[Join, ...] = ()
    absent: tuple[str, ...] = ()
    ignored: Mapping[str, str] | None = None
    beside: Mapping[str, str] | None = None
    beside_rules: tuple[Rule, ...] = ()
    optional: tuple[str, ...] = ()
    check: Callable[[Mapping[str, Tensor]], None] | None = None

    def front_of(self, keys: Collection[str]) -> str | None:
        """The front under which the expert stands, None if it does not."""
        for front in self.fronts:
            if all(front + key in keys for key in self.anchors) and not any(
                front + key in keys for key in self.absent
            ):
                return front
        return None

    def to_ours(
        self, state_dict: Mapping[str, Tensor], name: str
    ) -> Conversion:
        """Convert to the names of our expert.

        Args:
            state_dict: Parameters by their name.
            name: Opens error messages.

        Raises:
            KeyError: If a key is unknown or one that we need is missing.
            ValueError: If ``check`` refuses the values, or the layout is
                another.
        """
        front = self.front_of(state_dict)
        if front is None:
            wanted = ', '.join(repr(key) for key in self.anchors)
            raise ValueError(f'this is no {name}: it needs the keys {wanted}')
        if self.check is not None:
            self.check(_under(state_dict, front))
        ignored = {front + k: why for k, why in (self.ignored or {}).items()}
        rules = [r._replace(theirs=front + r.theirs) for r in self.rules]
        if front:
            ignored |= self.beside or {}
            rules += self.beside_rules
        joins = [_with_front(join, front) for join in self.joins]
        conversion = convert(
            state_dict,
            RenameTable(name, rules),
            joins,
            _match(state_dict, ignored),
        )
        self._require_all(conversion.state_dict, rules, joins, name)
        return conversion

    def _require_all(
        self,
        ours: Collection[str],
        rules: Iterable[Rule],
        joins: Iterable[Join],
        name: str,
    ) -> None:
        pairs = [(j.ours, j.parts[0]) for j in joins]
        pairs += [(r.ours, r.theirs) for r in rules]
        numbers = (re.match(r'layers\.(\d+)\.', key) for key in ours)
        layers = 1 + max((int(m.group(1)) for m in numbers if m), default=0)
        for our, their in pairs:
            if our.startswith(self.optional):
                continue
            for i in range(layers) if '{i}' in our else [0]:
                if our.replace('{i}', str(i)) not in ours:
                    raise KeyError(
                        f'{name}: the checkpoint lacks '
                        f'{their.replace("{i}", str(i))!r}; it is incomplete '
                        'or of another model'
                    )


def _under(state_dict: Mapping[str, Tensor], front: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(front): value
        for key, value in state_dict.items()
        if key.startswith(front)
    }


def _with_front(join: Join, front: str) -> Join:
    return Join(
        tuple(front + part for part in join.parts),
        join.ours,
        front + join.optional if join.optional else None,
    )


def _match(keys: Iterable[str], reasons: Mapping[str, str]) -> dict[str, str]:
    """The ignored keys with their reason."""
    patterns = [(key_pattern(k), why) for k, why in reasons.items()]
    return {
        key: why
        for key in keys
        for pattern, why in patterns
        if pattern.match(key)
    }
