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
        before: By expert, whether its positions are read by any link, or
            pooled.
        answers: For each link, whether the update of the positions of its
            first and of its second expert is needed.
    """

    before: Needs
    answers: list[tuple[bool, bool]]


def pools_positions(expert: Any) -> bool:
    """Whether an expert pools more than its extra tokens."""
    return getattr(expert, 'pools_positions', True)


def needed_in_sequence(pairs: Sequence[Pair], pooled: Needs) -> LastLayer:
    """Needs when each link reads what the earlier ones wrote."""
    needed, answers = dict(pooled), []
    for a, b in reversed(pairs):
        to_a, to_b = needed[a], needed[b]
        # Who is asked must have positions at this point.
        needed[a], needed[b] = to_a or to_b, to_b or to_a
        answers.insert(0, (to_a, to_b))
    return LastLayer(needed, answers)


def needed_at_once(pairs: Sequence[Pair], pooled: Needs) -> LastLayer:
    """Needs when all links read the same tokens."""
    answers = [(pooled[a], pooled[b]) for a, b in pairs]
    needed = dict(pooled)
    for pair, answer in zip(pairs, answers, strict=True):
        needed.update(dict.fromkeys(pair, True) if any(answer) else {})
    return LastLayer(needed, answers)


NEEDED: dict[str, Callable[[Sequence[Pair], Needs], LastLayer]] = {
    'sequential': needed_in_sequence,
    'additive': needed_at_once,
}


def keep_needed(
    tokens: Mapping[str, Tensor], experts: Mapping[str, Any], needed: Needs
) -> dict[str, Tensor]:
    """Leave the extra tokens alone where positions are not needed.

    Args:
        tokens: (B, T, P + N, C) by expert.
        experts: The experts by name.
        needed: By expert, whether its positions are needed.

    Returns:
        (B, T, P + N or P, C) by expert.
    """
    return {
        name: value
        if needed[name]
        else value[:, :, : experts[name].token_spec.num_extra_tokens]
        for name, value in tokens.items()
    }
