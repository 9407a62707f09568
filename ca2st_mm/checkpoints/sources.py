# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""All layouts of checkpoints that we read, and how one is recognised."""

import re
from collections.abc import Collection

from .ast import AST_HF, AST_OFFICIAL
from .clip import CLIP_HF, CLIP_OPENAI
from .conversion import Conversion, Source
from .reference import REFERENCES
from .videomae import VIDEOMAE_HF, VIDEOMAE_MMACTION, VIDEOMAE_OFFICIAL

_OURS = re.compile(r'(.+\.)?layers\.\d+\.attention\.attn\.qkv\.weight')

OURS = Source(
    'ca2st_mm',
    'ca2st_mm',
    'any',
    lambda keys: '' if any(map(_OURS.fullmatch, keys)) else None,
    lambda weights, _: Conversion(
        dict(weights), origins={key: (key,) for key in weights}
    ),
)
SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        OURS,
        CLIP_OPENAI,
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
    """Tell by its names which layout a state dict is of.

    Args:
        keys: The state dict, or its keys.

    Raises:
        ValueError: If no layout fits, or more than one.

    Example:
        >>> detect_source(['layers.0.attention.attn.qkv.weight']).name
        'ca2st_mm'
    """
    keys = set(keys)
    found = [source for source in SOURCES.values() if source.matches(keys)]
    if len(found) == 1:
        return found[0]
    first = ', '.join(repr(key) for key in sorted(keys)[:3])
    if found:
        names = ' and '.join(source.name for source in found)
        raise ValueError(
            f'the names fit {names} at once (first keys: {first}); choose '
            'one of them'
        )
    raise ValueError(
        f'the names fit no known source (first keys: {first}); known are '
        f'{", ".join(SOURCES)}'
    )
