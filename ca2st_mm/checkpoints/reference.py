# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The authors' CAST, CAVA and CA2ST checkpoints to ours and back."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .conversion import Conversion, Join, RenameTable, Source, convert
from .reference_tables import BODIES, HEADS, TEMPORAL

# A norm the reference owns and never uses (facts: section 3).
UNUSED_NORM = 'audio_ln_post'
SPATIAL_NORM = 'clip_ln_post'
# VideoMAE has no key bias; ours is zero there.
QKV_BIAS = Join(
    tuple(f'blocks.{{i}}.attn.{letter}_bias' for letter in 'qkv'),
    f'{TEMPORAL}.layers.{{i}}.attention.attn.qkv.bias',
    optional='blocks.{i}.attn.k_bias',
)
_FAMILIES = {
    frozenset(('spatial', 'temporal')): 'cast',
    frozenset(('spatial', 'audio')): 'cava',
    frozenset(('spatial', 'temporal', 'audio')): 'ca2st',
}
UNUSED_ADAPTERS = ('noun_last_Adapter', 'verb_last_Adapter')

# What names cannot tell.
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
    'the audio links carry position tables next to time encoders; checkpoints '
    'from before 2024-08-26 carry them even where training did not use them: '
    'leave them out (drop_audio_positions) if the run did not use them'
)


@dataclass(frozen=True)
class Layout:
    """Which reference model a checkpoint is of.

    Args:
        family: 'cast', 'cava' or 'ca2st'.
        head: 'single', or 'composition' for verb and noun.
    """

    family: str
    head: str

    @property
    def table(self) -> RenameTable:
        """The key table of this layout."""
        rules = [*BODIES[self.family], *HEADS[self.family, self.head]]
        return RenameTable(f'{self.family} ({self.head})', rules)


def is_reference(keys: Iterable[str]) -> bool:
    """Whether the names are of one of the reference models."""
    return any(key.startswith('clip_conv1.') for key in keys)


def detect_layout(keys: Iterable[str]) -> Layout:
    """Tell the reference model by its parameter names.

    Raises:
        ValueError: If the names are of none of the models.
    """
    keys = set(keys)
    if not is_reference(keys):
        raise ValueError(
            'this is no CAST, CAVA or CA2ST checkpoint of the reference '
            f"code: it has no 'clip_conv1.weight'; first keys: "
            f'{sorted(keys)[:3]}'
        )
    if any('.s_t_b_cast.' in key for key in keys):
        family = 'ca2st'
    elif any(key.startswith('ast_') for key in keys):
        family = 'cava'
    else:
        family = 'cast'
    composition = any(key.startswith('head_verb') for key in keys)
    return Layout(family, 'composition' if composition else 'single')


def layout_of_ours(keys: Iterable[str]) -> Layout:
    """Which reference model a recognizer of ours can be written as.

    Raises:
        ValueError: If its experts are those of none of them.
    """
    keys = set(keys)
    found = (re.match(r'backbone\.experts\.(\w+)\.', key) for key in keys)
    experts = frozenset(match.group(1) for match in found if match)
    if experts not in _FAMILIES:
        raise ValueError(
            'a recognizer with the experts '
            f'{", ".join(sorted(experts)) or "none"} is no CAST, CAVA or '
            "CA2ST; its keys must begin with 'backbone.experts.spatial.' and "
            'so on'
        )
    composition = any(key.startswith('cls_head.fc_verb') for key in keys)
    return Layout(
        _FAMILIES[experts], 'composition' if composition else 'single'
    )


def _split_biases(
    state_dict: Mapping[str, Tensor], check: bool
) -> dict[str, Tensor]:
    out = {}
    for key, value in state_dict.items():
        if not re.fullmatch(r'blocks\.\d+\.attn\.qkv\.bias', key):
            out[key] = value
            continue
        q_bias, k_bias, v_bias = value.chunk(3)
        if check and k_bias.any():
            raise ValueError(
                f'{key!r} has a key bias, which the reference cannot hold; '
                'it has no effect, so set it to zero before converting'
            )
        prefix = key.removesuffix('qkv.bias')
        out[f'{prefix}q_bias'], out[f'{prefix}v_bias'] = q_bias, v_bias
    return out


def _why_ignored(key: str, layout: Layout) -> str | None:
    prefix = key.split('.')[0]
    if prefix == UNUSED_NORM:
        return 'the reference never uses this norm'
    if layout == Layout('cast', 'composition') and prefix in UNUSED_ADAPTERS:
        return 'verb and noun classifiers of CAST read features directly'
    return None


def from_reference(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Rename a reference state dict to ours.

    Args:
        state_dict: Parameters by reference name, without a ``module.`` prefix.

    Returns:
        Our state dict of the whole recognizer and, by reference name, the
        tensors left out with the reason.  Half precision becomes float32.

    Raises:
        KeyError: If a key is unknown or its partner is missing.
        ValueError: If it is not a reference checkpoint.
    """
    layout = detect_layout(state_dict)
    ignored = {
        key: why
        for key in state_dict
        if (why := _why_ignored(key, layout)) is not None
    }
    conversion = convert(state_dict, layout.table, [QKV_BIAS], ignored)
    conversion.notes += _notes_on(layout, conversion.state_dict)
    return conversion


def to_reference(
    state_dict: Mapping[str, Tensor],
    layout: Layout,
    check_key_bias: bool = True,
    unused: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Rename our state dict to the reference's names.

    Args:
        state_dict: Parameters (or gradients) of our recognizer by name.
        layout: The reference model to write.
        check_key_bias: Whether a key bias that the reference cannot hold is
            an error. Gradients of it are of no use and may be dropped.
        unused: Tensors by reference name that :func:`from_reference` left
            out; they make the way there and back exact.

    Returns:
        State dict by reference name. The norm that the reference owns but
        never uses is filled with the spatial one, as its loader does, unless
        it is among ``unused``.

    Raises:
        KeyError: If a key of ours has no place in the reference.
        ValueError: If VideoMAE has a key bias.
    """
    out = layout.table.to_theirs(state_dict)
    out = _split_biases(out, check_key_bias)
    if layout.family != 'cast':
        for kind in ('weight', 'bias'):
            if f'{SPATIAL_NORM}.{kind}' in out:
                source = out[f'{SPATIAL_NORM}.{kind}']
                out[f'{UNUSED_NORM}.{kind}'] = source.clone()
    return {**out, **(unused or {})}


def _notes_on(layout: Layout, ours: Mapping[str, Tensor]) -> list[str]:
    """Sentences for whoever converts an authors' checkpoint."""
    timed = any(key.startswith('backbone.time_encoders.') for key in ours)
    notes = []
    if layout == Layout('cast', 'single'):
        notes.append(_HEAD_OF_CAST)
    if layout.family == 'cava':
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


def _reference(family: str, title: str) -> Source:
    """The authors' checkpoints of one model."""

    def to_ours(weights: Mapping[str, Tensor]) -> Conversion:
        found = detect_layout(weights).family
        if found != family:
            raise ValueError(
                f'the checkpoint is of {found.upper()}, not of '
                f'{family.upper()}; choose {found}_reference'
            )
        return from_reference(weights)

    return Source(
        f'{family}_reference',
        f'{title}, the code of its authors',
        family,
        lambda keys: (
            is_reference(keys) and detect_layout(keys).family == family
        ),
        to_ours,
    )


REFERENCES = (
    _reference('cast', 'CAST'),
    _reference('cava', 'CAVA'),
    _reference('ca2st', 'CA2ST'),
)
