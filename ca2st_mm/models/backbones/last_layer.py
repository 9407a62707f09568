# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What of the last layer can reach a feature; the rest is not computed.

CLIP and AST pool their extra tokens only, and extra tokens never look through
a link.  So in the last layer whole directions of links, and what happens to
the positions of those experts afterwards, have no effect on any feature and
gradients of exactly zero.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

Pair = tuple[str, str]
Needs = dict[str, bool]


class LastLayer(NamedTuple):
    """What is needed in the last layer.

    Attributes:
        before: By expert, whether its patches are read by any link, or
            pooled.
        updates: For each link, whether the update of the patches of its
            first and of its second expert is needed.
    """

    before: Needs
    updates: list[tuple[bool, bool]]


def needed_in_sequence(pairs: Sequence[Pair], pooled: Needs) -> LastLayer:
    """Needs when each link reads what the earlier ones wrote."""
    needed, updates = dict(pooled), []
    for a, b in reversed(pairs):
        to_a, to_b = needed[a], needed[b]
        # Each side is the context of the other.
        needed[a], needed[b] = to_a or to_b, to_b or to_a
        updates.insert(0, (to_a, to_b))
    return LastLayer(needed, updates)


def needed_at_once(pairs: Sequence[Pair], pooled: Needs) -> LastLayer:
    """Needs when all links read the same tokens."""
    updates = [(pooled[a], pooled[b]) for a, b in pairs]
    needed = dict(pooled)
    for pair, update in zip(pairs, updates, strict=True):
        needed.update(dict.fromkeys(pair, True) if any(update) else {})
    return LastLayer(needed, updates)


NEEDED: dict[str, Callable[[Sequence[Pair], Needs], LastLayer]] = {
    'sequential': needed_in_sequence,
    'additive': needed_at_once,
}


def keep_needed(
    tokens: Mapping[str, Tensor], experts: Mapping[str, Any], needed: Needs
) -> dict[str, Tensor]:
    """Cut the patches off where they are not needed.

    Args:
        tokens: (B, T, P + N, C) by expert.
        experts: The experts by name.
        needed: By expert, whether its patches are needed.

    Returns:
        (B, T, P + N or P, C) by expert.
    """
    return {
        name: value
        if needed[name]
        else value[:, :, : experts[name].token_spec.num_extra_tokens]
        for name, value in tokens.items()
    }
