# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a source of checkpoints is: a layout of names we can read."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .conversion import Conversion
from .expert_layout import ExpertLayout


class Source(Protocol):
    """A layout of names that we convert.

    ``model`` says whose weights it holds: 'clip', 'videomae' or 'ast' for one
    expert, 'cast', 'cava' or 'ca2st' for a whole recognizer, 'any' for ours.
    """

    name: str
    title: str
    model: str

    def matches(self, keys: Collection[str]) -> bool:
        """Whether the names are of this source."""

    def to_ours(self, state_dict: Mapping[str, Tensor]) -> Conversion:
        """Convert; a key that finds no place raises ``KeyError``."""


@dataclass(frozen=True)
class ExpertSource:
    """Weights of one expert by somebody else's code; see :class:`Source`.

    Args:
        name: Short name.
        title: Name for messages.
        model: 'clip', 'videomae' or 'ast'.
        layouts: Generations of names; the first that fits is read.
        notes: Sentences that go with every conversion.
        needs: A pattern that the start of some key must match.
        excludes: A pattern that the start of no key may match.
    """

    name: str
    title: str
    model: str
    layouts: tuple[ExpertLayout, ...]
    notes: tuple[str, ...] = ()
    needs: str | None = None
    excludes: str | None = None

    def matches(self, keys: Collection[str]) -> bool:
        """Whether the names are of this source."""
        if self.needs and not _any_starts(keys, self.needs):
            return False
        if self.excludes and _any_starts(keys, self.excludes):
            return False
        return any(
            layout.front_of(keys) is not None for layout in self.layouts
        )

    def to_ours(self, state_dict: Mapping[str, Tensor]) -> Conversion:
        """Convert to the names of our expert.

        Raises:
            KeyError: If a key is unknown or one that we need is missing.
            ValueError: If the layout is another, or the values cannot be
                held.
        """
        fitting = (
            layout
            for layout in self.layouts
            if layout.front_of(state_dict) is not None
        )
        layout = next(fitting, self.layouts[0])
        conversion = layout.to_ours(state_dict, self.title)
        conversion.notes.extend(self.notes)
        return conversion


def _any_starts(keys: Collection[str], pattern: str) -> bool:
    return any(re.match(pattern, key) for key in keys)
