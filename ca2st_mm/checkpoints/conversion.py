# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From a foreign state dict to ours, with an account of every tensor."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .joining import Join, join_parts
from .renaming import RenameTable

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
    """
    ignored = dict(ignored or {})
    kept = {k: v for k, v in state_dict.items() if k not in ignored}
    _require_floats(kept, table.name)
    out, origins = join_parts(kept, joins)
    used = {key for keys in origins.values() for key in keys}
    rest = {key: value for key, value in kept.items() if key not in used}
    for ours, value in table.to_ours(rest).items():
        if ours in out:
            raise KeyError(
                f'{table.name}: {ours!r} is there both whole and in parts '
                f'({origins[ours][0]!r})'
            )
        out[ours] = value
    origins |= {table.our_name(key): (key,) for key in rest}
    out, notes = _widen(out)
    return Conversion(out, ignored, origins, notes)


def _require_floats(state_dict: Mapping[str, Tensor], name: str) -> None:
    # Joining would turn integers, e.g. a stray index table, into floats.
    for key, value in state_dict.items():
        if not value.is_floating_point():
            raise KeyError(
                f'{name}: {key!r} holds {value.dtype}, which is no weight'
            )


def _widen(
    state_dict: dict[str, Tensor],
) -> tuple[dict[str, Tensor], list[str]]:
    """Half precision to float32, exactly."""
    half = [key for key, value in state_dict.items() if value.dtype in HALF]
    if not half:
        return state_dict, []
    kinds = {str(state_dict[k].dtype).removeprefix('torch.') for k in half}
    widened = {key: state_dict[key].float() for key in half}
    note = (
        f'{len(half)} tensors of {" and ".join(sorted(kinds))} became float32'
    )
    return {**state_dict, **widened}, [note]
