# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The authors' CAST, CAVA and CA2ST checkpoints to ours and back."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .conversion import Conversion, Source, Tensors

_FAMILIES = {
    frozenset(('spatial', 'temporal')): 'cast',
    frozenset(('spatial', 'audio')): 'cava',
    frozenset(('spatial', 'temporal', 'audio')): 'ca2st',
}
# A norm that the authors' code owns and never uses.
UNUSED_NORM = 'audio_ln_post'
SPATIAL_NORM = 'clip_ln_post'
UNUSED_ADAPTERS = ('noun_last_Adapter', 'verb_last_Adapter')
# Leading axes of size 1 that ours have and theirs have not.
NEW_AXES = {'clip_class_embedding': 2, 'clip_positional_embedding': 1}
TEMPORAL_BIAS = 'backbone.experts.temporal.layers.{}.attention.attn.qkv.bias'

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

    def names(self) -> dict[str, str]:
        """Modules and parameters of theirs -> ours; ``{i}`` is a layer."""
        names = _expert_names(self.family) | _head_names(self)
        if self.family == 'cast':
            # The reference calls both output projections t2s_proj.
            names |= _link_names(
                'spatial_temporal',
                'blocks.{i}',
                ends=('s', 't'),
                to_a=('t2s_cross', 't2s_q', 't2s_kv', 't2s_proj'),
                to_b=('s2t_cross', 's2t_q', 's2t_kv', 't2s_proj'),
                tables=('clip', 'vmae'),
                time='time',
            )
        elif self.family == 'cava':
            # CAVA reuses CAST's names: s is audio and t spatial, but the
            # tables named clip are of the queries of t2s, which are audio.
            names |= _link_names(
                'spatial_audio',
                'blocks.{i}',
                ends=('t', 's'),
                to_a=('s2t_cross', 's2t_q', 's2t_kv', 't2s_proj'),
                to_b=('t2s_cross', 't2s_q', 't2s_kv', 't2s_proj'),
                tables=('vmae', 'clip'),
            )
            names |= _time_names(('0', '2.0', '3.0'), '4')
        else:
            names |= _link_names(
                'spatial_temporal',
                'blocks.{i}.s_t_b_cast',
                ends=('l', 'r'),
                to_a=('r2l_cross', 't2s_q', 't2s_kv', 't2s_proj'),
                to_b=('l2r_cross', 's2t_q', 's2t_kv', 't2s_proj'),
                tables=('clip', 'vmae'),
                time='time',
            )
            for video, letter, table in (
                ('spatial', 's', 'clip'),
                ('temporal', 't', 'vmae'),
            ):
                names |= _link_names(
                    f'{video}_audio',
                    f'blocks.{{i}}.{letter}_audio_b_cast',
                    ends=('l', 'r'),
                    to_a=('r2l_cross', 'q', 'kv', 'proj'),
                    to_b=('l2r_cross', 'q', 'kv', 'proj'),
                    tables=(table, 'audio'),
                )
            names |= _time_names(('0', '2', '4'), '6')
        return names


def _expert_names(family: str) -> dict[str, str]:
    clip = {
        'clip_class_embedding': 'cls_token',
        'clip_positional_embedding': 'pos_embed',
        'clip_conv1': 'patch_embed',
        'clip_ln_pre': 'pre_norm',
        'clip_ln_post': 'norm',
        'blocks.{i}.clip_ln_1': 'layers.{i}.attention.norm',
        'blocks.{i}.clip_attn.in_proj_weight': (
            'layers.{i}.attention.attn.qkv.weight'
        ),
        'blocks.{i}.clip_attn.in_proj_bias': (
            'layers.{i}.attention.attn.qkv.bias'
        ),
        'blocks.{i}.clip_attn.out_proj': 'layers.{i}.attention.attn.proj',
        'blocks.{i}.clip_ln_2': 'layers.{i}.ffn.norm',
        'blocks.{i}.clip_mlp.c_fc': 'layers.{i}.ffn.fc1',
        'blocks.{i}.clip_mlp.c_proj': 'layers.{i}.ffn.fc2',
    }
    videomae = {
        'patch_embed.proj': 'patch_embed',
        'vmae_fc_norm': 'norm',
        'blocks.{i}.norm1': 'layers.{i}.attention.norm',
        'blocks.{i}.attn': 'layers.{i}.attention.attn',
        'blocks.{i}.norm2': 'layers.{i}.ffn.norm',
        'blocks.{i}.mlp': 'layers.{i}.ffn',
    }
    ast = {
        'ast_cls_token': 'cls_token',
        'ast_dist_token': 'dist_token',
        'ast_pos_embed': 'pos_embed',
        'ast_patch_embed.proj': 'patch_embed',
        'ast_norm': 'norm',
        'blocks.{i}.ast_norm1': 'layers.{i}.attention.norm',
        'blocks.{i}.ast_attn': 'layers.{i}.attention.attn',
        'blocks.{i}.ast_norm2': 'layers.{i}.ffn.norm',
        'blocks.{i}.ast_mlp': 'layers.{i}.ffn',
    }
    # Expert -> its names and what their adapters begin with.
    experts = dict(
        cast=dict(spatial=(clip, 'S'), temporal=(videomae, 'T')),
        cava=dict(audio=(ast, 'S'), spatial=(clip, 'T')),
        ca2st=dict(
            spatial=(clip, 'S'), temporal=(videomae, 'T'), audio=(ast, 'Audio')
        ),
    )[family]
    names = {}
    for expert, (modules, letter) in experts.items():
        modules = {
            **modules,
            **_mlp(
                f'blocks.{{i}}.{letter}_Adapter',
                'layers.{i}.attention.adapter',
            ),
            **_mlp(
                f'blocks.{{i}}.{letter}_MLP_Adapter', 'layers.{i}.ffn.adapter'
            ),
        }
        for theirs, ours in modules.items():
            names[theirs] = f'backbone.experts.{expert}.{ours}'
    return names


def _mlp(
    theirs: str, ours: str, down: str = 'D_fc1', up: str = 'D_fc2'
) -> dict[str, str]:
    return {f'{theirs}.{down}': f'{ours}.down', f'{theirs}.{up}': f'{ours}.up'}


def _link_names(
    link: str,
    theirs: str,
    ends: tuple[str, str],
    to_a: tuple[str, str, str, str],
    to_b: tuple[str, str, str, str],
    tables: tuple[str, str],
    time: str = 'temporal',
) -> dict[str, str]:
    """Names of the B-CA between two experts, ``a`` and ``b`` of ours.

    Args:
        link: Our name of it.
        theirs: What their names begin with.
        ends: Their letters for ``a`` and ``b``.
        to_a: Their cross-attention that ``a`` queries: the module, its
            query, key-value and output projections.
        to_b: The same for ``b``.
        tables: Their words for position tables of ``a`` and ``b``.
        time: Their word for tables of time.
    """
    ours = f'backbone.links.{{i}}.{link}'
    names = {}
    for end, letter in zip('ab', ends, strict=True):
        names |= {
            f'{theirs}.cross_{letter}_down': f'{ours}.bottleneck_{end}.down',
            f'{theirs}.cross_{letter}_up': f'{ours}.bottleneck_{end}.up',
            f'{theirs}.ln_{letter}_cross': f'{ours}.norm_{end}',
        }
    for direction, words, (query, context) in (
        ('a_from_b', to_a, tables),
        ('b_from_a', to_b, tables[::-1]),
    ):
        cross, (module, q, kv, proj) = f'{ours}.{direction}', words
        module = f'{theirs}.{module}'
        names |= {
            f'{module}.{q}.weight': f'{cross}.attn.q.weight',
            f'{module}.{q}_bias': f'{cross}.attn.q.bias',
            f'{module}.{kv}.weight': f'{cross}.attn.kv.weight',
            f'{module}.{kv}_bias': f'{cross}.attn.kv.bias',
            f'{module}.{proj}': f'{cross}.attn.proj',
        }
        for side, word in (('query', query), ('context', context)):
            positions = f'{cross}.{side}_positions.0'
            names[f'{module}.{word}_space_pos'] = f'{positions}.space_table'
            names[f'{module}.{word}_{time}_pos'] = f'{positions}.time_table'
    return names


def _time_names(linears: tuple[str, str, str], norm: str) -> dict[str, str]:
    """Names of the time encoders, by theirs of the layers of each."""
    names = {}
    for theirs, stream in (('time_mlp', 'imgs'), ('audio_time_mlp', 'audios')):
        ours = f'backbone.time_encoders.{stream}'
        for linear, index in zip(linears, (0, 2, 4), strict=True):
            names[f'{theirs}.{linear}'] = f'{ours}.mlp.{index}'
        names[f'{theirs}.{norm}'] = f'{ours}.norm'
    return names


def _head_names(layout: Layout) -> dict[str, str]:
    single = layout.head == 'single'
    names = {'head': 'cls_head.fc_cls'}
    noun = verb = 'cls_head.fusion.adapters'
    if not single:
        names = {
            'head_noun': 'cls_head.fc_noun',
            'head_verb': 'cls_head.fc_verb',
        }
        noun = 'cls_head.fusions.noun.adapters'
        verb = 'cls_head.fusions.verb.adapters'
    last_noun, last_verb = UNUSED_ADAPTERS
    if layout.family == 'cava':
        # Both classifiers of CAVA read one fusion; ours keeps it under 'verb'.
        names |= _mlp(last_noun, f'{verb}.audio')
        names |= _mlp(last_verb, f'{verb}.spatial')
    elif single or layout.family == 'ca2st':
        names |= _mlp(last_noun, f'{noun}.spatial')
        names |= _mlp(last_verb, f'{verb}.temporal')
    if layout.family == 'ca2st':
        words = ('c_fc', 'c_proj')
        names |= _mlp(f'audio_{last_verb}', f'{verb}.audio', *words)
        if not single:
            names |= _mlp(f'audio_{last_noun}', f'{noun}.audio', *words)
    return names


def rename(key: str, names: Mapping[str, str]) -> str:
    """Translate a key by the longest module or parameter that has a name.

    Args:
        key: A key of theirs, or of ours.
        names: As :meth:`Layout.names` gives them, or turned round.

    Raises:
        KeyError: If nothing at the start of the key has a name.

    Example:
        >>> rename('head.weight', {'head': 'cls_head.fc_cls'})
        'cls_head.fc_cls.weight'
    """
    found = re.search(r'\b(?:blocks|layers|links)\.(\d+)\.', key)
    layer = found[1] if found else ''
    start = key
    if found:
        start = f'{key[: found.start(1)]}{{i}}{key[found.end(1) :]}'
    end = ''
    while start not in names:
        start, dot, last = start.rpartition('.')
        if not dot:
            raise KeyError(
                f'no name is known for the key {key!r}; the checkpoint is of '
                'another model or a newer layout'
            )
        end = f'.{last}{end}'
    return names[start].replace('{i}', layer) + end


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
    names = layout.names()
    theirs = Tensors(state_dict, f'{layout.family} ({layout.head})')
    theirs.leave_out({UNUSED_NORM: 'the reference never uses this norm'})
    if layout == Layout('cast', 'composition'):
        why = 'verb and noun classifiers of CAST read features directly'
        theirs.leave_out(dict.fromkeys(UNUSED_ADAPTERS, why))
    if layout.family != 'cava':
        # VideoMAE has no key bias; ours is zero there.
        for i in theirs.layers('blocks.'):
            parts = [f'blocks.{i}.attn.{letter}_bias' for letter in 'qkv']
            ours = TEMPORAL_BIAS.format(i)
            theirs.take(ours, *parts, optional=parts[1])
    for key in list(theirs.left):
        ours = rename(key, names)
        theirs.take(ours, key, new_axes=NEW_AXES.get(key, 0))
    conversion = theirs.converted()
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
    names = {ours: theirs for theirs, ours in layout.names().items()}
    out = {}
    for ours, value in state_dict.items():
        key = rename(ours, names)
        if not re.fullmatch(r'blocks\.\d+\.attn\.qkv\.bias', key):
            out[key] = value[(0,) * NEW_AXES.get(key, 0)]
            continue
        q_bias, k_bias, v_bias = value.chunk(3)
        if check_key_bias and k_bias.any():
            raise ValueError(
                f'{key!r} has a key bias, which the reference cannot hold; '
                'it has no effect, so set it to zero before converting'
            )
        prefix = key.removesuffix('qkv.bias')
        out[f'{prefix}q_bias'], out[f'{prefix}v_bias'] = q_bias, v_bias
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


def _source(family: str, title: str) -> Source:
    """The authors' checkpoints of one model."""

    def prefix_of(keys: Iterable[str]) -> str | None:
        fits = is_reference(keys) and detect_layout(keys).family == family
        return '' if fits else None

    return Source(
        f'{family}_reference',
        f'{title}, the code of its authors',
        family,
        prefix_of,
        lambda weights, _: from_reference(weights),
    )


REFERENCES = (
    _source('cast', 'CAST'),
    _source('cava', 'CAVA'),
    _source('ca2st', 'CA2ST'),
)
