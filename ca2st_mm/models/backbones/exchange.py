# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How the updates of several links reach the experts of one layer.

Both functions take the tokens by expert, the links of the layer as
``(a, b, link)``, the time codes by expert and, by expert, a factor
(B, 1, 1, 1) that is 0 for samples without that expert's input (or nothing).
They return new tokens by expert and never change the old ones.  An update
may cover the first tokens of each step only: the others are not needed any
more and are left out.
"""

from collections.abc import Callable, Iterator

from torch import Tensor

from ..layers.fusion import at_least_one

Tokens = dict[str, Tensor]
Updates = Callable[..., tuple[Tensor, Tensor]]
Links = list[tuple[str, str, Updates]]
Exchange = Callable[[Tokens, Links, Tokens, Tokens], Tokens]


def _updates(
    tokens: Tokens, pair: tuple[str, str, Updates], codes: Tokens
) -> Iterator[tuple[str, str, Tensor]]:
    """Yield (receiver, sender, update) for both ends of a link."""
    a, b, link = pair
    update_a, update_b = link(tokens[a], tokens[b], codes.get(a), codes.get(b))
    yield a, b, update_a
    yield b, a, update_b


def _add(tokens: Tensor, update: Tensor) -> Tensor:
    return tokens[:, :, : update.shape[2]] + update


def exchange_sequentially(
    tokens: Tokens, links: Links, codes: Tokens, present: Tokens
) -> Tokens:
    """Links run in list order; each sees what the earlier ones wrote."""
    tokens = dict(tokens)
    for pair in links:
        for receiver, sender, update in list(_updates(tokens, pair, codes)):
            update = update * present.get(sender, 1)
            tokens[receiver] = _add(tokens[receiver], update)
    return tokens


def exchange_additively(
    tokens: Tokens, links: Links, codes: Tokens, present: Tokens
) -> Tokens:
    """All links read the same tokens; updates of an expert are averaged."""
    sums, counts = {}, {}
    for pair in links:
        for receiver, sender, update in _updates(tokens, pair, codes):
            factor = present.get(sender, 1)
            sums[receiver] = sums.get(receiver, 0) + update * factor
            counts[receiver] = counts.get(receiver, 0) + factor
    return {
        name: _add(value, sums[name] / at_least_one(counts[name]))
        if name in sums
        else value
        for name, value in tokens.items()
    }


EXCHANGES: dict[str, Exchange] = {
    'sequential': exchange_sequentially,
    'additive': exchange_additively,
}
