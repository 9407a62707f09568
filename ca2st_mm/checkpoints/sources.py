# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""All layouts of checkpoints that we read, and how one is recognised."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from .ast import AST_HF, AST_OFFICIAL
from .clip import CLIP_HF, CLIP_OPENAI, CLIP_OPENCLIP
from .conversion import Conversion
from .reference import (
    detect_layout,
    from_reference,
    is_reference,
    layout_of_ours,
    to_reference,
)
from .source import Source
from .videomae import VIDEOMAE_HF, VIDEOMAE_MMACTION, VIDEOMAE_OFFICIAL

_OURS = re.compile(r'(.+\.)?layers\.\d+\.attention\.attn\.qkv\.weight')


@dataclass(frozen=True)
class ReferenceSource:
    """The authors' checkpoints of one model; see :class:`Source`."""

    name: str
    title: str
    model: str

    def matches(self, keys: Collection[str]) -> bool:
        """Whether the names are those of this model."""
        return is_reference(keys) and detect_layout(keys).family == self.model

    def to_ours(self, state_dict: Mapping[str, Tensor]) -> Conversion:
        """Convert to our recognizer; see :func:`from_reference`.

        Raises:
            KeyError: If a key is unknown or its partner is missing.
            ValueError: If it is another model.
        """
        self._require(detect_layout(state_dict).family)
        return from_reference(state_dict)

    def to_theirs(
        self,
        state_dict: Mapping[str, Tensor],
        unused: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Convert our recognizer back; see :func:`to_reference`.

        Raises:
            KeyError: If a key of ours has no place in the reference.
            ValueError: If it is another model, or VideoMAE has a key bias.
        """
        layout = layout_of_ours(state_dict)
        self._require(layout.family)
        return to_reference(state_dict, layout, unused=unused)

    def _require(self, family: str) -> None:
        if family != self.model:
            raise ValueError(
                f'the checkpoint is of {family.upper()}, not of '
                f'{self.model.upper()}; choose {family}_reference'
            )


@dataclass(frozen=True)
class OwnSource:
    """Our own names, of a lone expert or of a recognizer."""

    name: str = 'ca2st_mm'
    title: str = 'ca2st_mm'
    model: str = 'any'

    def matches(self, keys: Collection[str]) -> bool:
        """Whether a layer of one of our experts is there, at any front."""
        return any(_OURS.fullmatch(key) for key in keys)

    def to_ours(self, state_dict: Mapping[str, Tensor]) -> Conversion:
        """Nothing to convert: the same tensors."""
        return Conversion(
            dict(state_dict), origins={key: (key,) for key in state_dict}
        )


OURS = OwnSource()
REFERENCES = tuple(
    ReferenceSource(
        f'{family}_reference', f'{title}, the code of its authors', family
    )
    for family, title in (
        ('cast', 'CAST'),
        ('cava', 'CAVA'),
        ('ca2st', 'CA2ST'),
    )
)
SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        OURS,
        CLIP_OPENAI,
        CLIP_OPENCLIP,
        CLIP_HF,
        VIDEOMAE_OFFICIAL,
        VIDEOMAE_HF,
        VIDEOMAE_MMACTION,
        AST_OFFICIAL,
        AST_HF,
        *REFERENCES,
    )
}


def detect_source(keys: Collection[str]) -> Source:
    """Tell by its names which source a state dict is of.

    Args:
        keys: The state dict, or its keys.

    Raises:
        ValueError: If no source fits, or more than one.
    """
    keys = set(keys)
    found = [source for source in SOURCES.values() if source.matches(keys)]
    if len(found) == 1:
        return found[0]
    known = ', '.join(SOURCES)
    first = ', '.join(repr(key) for key in sorted(keys)[:3])
    if found:
        names = ' and '.join(source.name for source in found)
        raise ValueError(
            f'the names fit {names} at once (first keys: {first}); choose '
            'one of them'
        )
    raise ValueError(
        f'the names fit no known source (first keys: {first}); known are '
        f'{known}'
    )
