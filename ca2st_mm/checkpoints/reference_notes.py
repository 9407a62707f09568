# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the names of the authors' checkpoints cannot tell, and its cure."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from .conversion import Conversion

_AUDIO_TABLE = re.compile(
    r'backbone\.links\.\d+\.(spatial|temporal)_audio\.'
    r'(a_from_b|b_from_a)\.(query|context)_positions\.'
)
_HEAD_OF_CAST = (
    "names do not tell how the head fuses: the authors' CAST code (released "
    "SSV2 and K400 weights) sums adapters of type 'Adapter', their later "
    "code takes reduction='mean' of type 'ResidualAdapter'"
)
_CLOCK = (
    'the authors trained time encodings on a transposed grid: give ASTExpert '
    "clock='transposed'"
)
_EPSILON = 'CAVA needs norm_eps=1e-6 in CLIPExpert'
_SHARED = (
    'the links of each expert have equal bottlenecks: give '
    'MultiExpertBackbone share_bottlenecks=True'
)
# Both ends are the same expert's.
_SAME_EXPERT = (
    ('spatial_audio.bottleneck_a', 'spatial_temporal.bottleneck_a'),
    ('temporal_audio.bottleneck_a', 'spatial_temporal.bottleneck_b'),
    ('spatial_audio.bottleneck_b', 'temporal_audio.bottleneck_b'),
)
_UNUSED = 'position table in an audio link that the config does not use'
_MAYBE_UNUSED = (
    'the audio links carry position tables beside time encoders; checkpoints '
    'from before 2024-08-26 carry them even where training did not use them: '
    'leave them out (drop_audio_positions) if the run did not use them'
)


def notes_on(family: str, head: str, ours: Mapping[str, Tensor]) -> list[str]:
    """Sentences for whoever converts an authors' checkpoint.

    Args:
        family: 'cast', 'cava' or 'ca2st'.
        head: 'single' or 'composition'.
        ours: The tensors by our name.
    """
    timed = any(key.startswith('backbone.time_encoders.') for key in ours)
    notes = []
    if (family, head) == ('cast', 'single'):
        notes.append(_HEAD_OF_CAST)
    if family == 'cava':
        notes.append(_EPSILON)
    if _bottlenecks_are_equal(ours):
        notes.append(_SHARED)
    if timed:
        notes.append(_CLOCK)
    if timed and any(_AUDIO_TABLE.match(key) for key in ours):
        notes.append(_MAYBE_UNUSED)
    return notes


def _bottlenecks_are_equal(ours: Mapping[str, Tensor]) -> bool:
    """Whether each expert has one bottleneck per layer for all its links."""
    pairs = [
        (key, key.replace(f'.{name}.', f'.{other}.'))
        for key in ours
        for name, other in _SAME_EXPERT
        if f'.{name}.' in key
    ]
    pairs = [(a, b) for a, b in pairs if b in ours]
    return bool(pairs) and all(torch.equal(ours[a], ours[b]) for a, b in pairs)


def drop_audio_positions(conversion: Conversion) -> Conversion:
    """Leave out the position tables of audio links.

    Nothing in a checkpoint tells whether they were used, so this is never
    done unasked: the training run must be known to have had none.

    Args:
        conversion: What :func:`from_reference` gave.

    Returns:
        The conversion without the tables, which are among the ignored.

    Raises:
        ValueError: If there are none.
    """
    tables = [k for k in conversion.state_dict if _AUDIO_TABLE.match(k)]
    if not tables:
        raise ValueError(
            'the checkpoint has no position tables in audio links; convert '
            'it without dropping them'
        )
    kept: dict[str, Tensor] = {
        key: value
        for key, value in conversion.state_dict.items()
        if key not in tables
    }
    dropped = {t: _UNUSED for key in tables for t in conversion.origins[key]}
    origins = {key: conversion.origins[key] for key in kept}
    notes = [note for note in conversion.notes if note != _MAYBE_UNUSED]
    return Conversion(kept, {**conversion.ignored, **dropped}, origins, notes)
