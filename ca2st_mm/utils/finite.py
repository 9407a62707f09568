# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Whether tensors hold numbers only."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from torch import Tensor


def is_finite(value: Any) -> bool:
    """Whether all tensors in a value are finite.

    Args:
        value: A tensor, or mappings and sequences with some; what is none of
            these counts as finite.
    """
    return all(bool(x.isfinite().all()) for x in _tensors(value))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from chain.from_iterable(map(_tensors, value.values()))
    elif isinstance(value, (list, tuple)):
        yield from chain.from_iterable(map(_tensors, value))
