# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The authors' CAST, CAVA and CA2ST checkpoints to ours and back."""

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from .conversion import Conversion, Layout

# By experts.
_FAMILIES = {
    frozenset(('spatial', 'temporal')): 'cast',
    frozenset(('spatial', 'audio')): 'cava',
    frozenset(('spatial', 'temporal', 'audio')): 'ca2st',
}
# A norm that the authors' code owns and never uses.
UNUSED_NORM = 'audio_ln_post'
SPATIAL_NORM = 'clip_ln_post'
LAST_ADAPTERS = ('noun_last_Adapter', 'verb_last_Adapter')
# Leading axes of size 1 that ours have and theirs have not.
NEW_AXES = {'clip_class_embedding': 2, 'clip_positional_embedding': 1}
TEMPORAL_BIAS = 'backbone.experts.temporal.layers.{}.attention.attn.qkv.bias'
AUDIO_TABLE = re.compile(
    r'backbone\.links\.\d+\.(spatial|temporal)_audio\.'
    r'(a_from_b|b_from_a)\.(query|context)_positions\.'
)
_EXPERT_LAYER = re.compile(r'(backbone\.experts\.\w+\.layers)\.(\d+)\.(.+)')
# Bottlenecks of one expert in two links.
SAME_EXPERT = (
    ('spatial_audio.bottleneck_a', 'spatial_temporal.bottleneck_a'),
    ('temporal_audio.bottleneck_a', 'spatial_temporal.bottleneck_b'),
    ('spatial_audio.bottleneck_b', 'temporal_audio.bottleneck_b'),
)


class Reference(NamedTuple):
    """Which model of the authors a state dict is of.

    Attributes:
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


def _head_names(layout: Reference) -> dict[str, str]:
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
    last_noun, last_verb = LAST_ADAPTERS
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
    """Whether the names are of a model of the authors."""
    return any(key.startswith('clip_conv1.') for key in keys)


def reference_of(keys: Collection[str]) -> Reference:
    """Which model of the authors a state dict is of, or can be written as.

    Args:
        keys: A state dict or its keys, in names of theirs or of ours.

    Raises:
        ValueError: If it is of none of them.

    Example:
        >>> reference_of(['clip_conv1.weight', 'head_verb.bias'])
        Reference(family='cast', head='composition')
    """
    if is_reference(keys):
        if any('.s_t_b_cast.' in key for key in keys):
            family = 'ca2st'
        elif any(key.startswith('ast_') for key in keys):
            family = 'cava'
        else:
            family = 'cast'
    else:
        found = (re.match(r'backbone\.experts\.(\w+)\.', k) for k in keys)
        experts = frozenset(match[1] for match in found if match)
        if experts not in _FAMILIES:
            raise ValueError(
                'a recognizer with the experts '
                f'{", ".join(sorted(experts)) or "none"} is no CAST, CAVA or '
                "CA2ST; its keys must begin with 'backbone.experts.spatial.' "
                "and so on, or with 'clip_conv1.' in the authors' names"
            )
        family = _FAMILIES[experts]
    verbs = ('head_verb', 'cls_head.fc_verb')
    composition = any(key.startswith(verbs) for key in keys)
    return Reference(family, 'composition' if composition else 'single')


def from_reference(
    state_dict: Mapping[str, Tensor], drop_audio_positions: bool = False
) -> Conversion:
    """Rename a state dict of the authors to ours.

    Args:
        state_dict: Parameters by the authors' names, without a ``module.``
            prefix.
        drop_audio_positions: Leave out the position tables of audio links.
            Checkpoints from before 2024-08-26 carry them even where training
            did not use them, which nothing in them tells.

    Returns:
        Our state dict of the whole recognizer and, by their names, the
        tensors left out with the reason.  Half precision becomes float32.

    Raises:
        KeyError: If a key is unknown or its partner is missing.
        ValueError: If it is none of their checkpoints, or there are no
            tables to drop.
    """
    layout = next((r for r in REFERENCES if r.matches(state_dict)), None)
    if layout is None:
        raise ValueError(
            'this is no checkpoint of the authors of CAST, CAVA and CA2ST: it '
            f"has no 'clip_conv1.weight'; first keys: {sorted(state_dict)[:3]}"
        )
    conversion = layout.convert(state_dict)
    if drop_audio_positions:
        tables = [k for k in conversion.state_dict if AUDIO_TABLE.match(k)]
        if not tables:
            raise ValueError(
                'the checkpoint has no position tables in audio links; '
                'convert it without dropping them'
            )
        conversion.notes = [n for n in conversion.notes if n != _MAYBE_UNUSED]
        for table in tables:
            del conversion.state_dict[table]
            [key] = conversion.origins.pop(table)
            conversion.ignored[key] = 'position table that is not used'
    return conversion


def _take_reference(theirs: Conversion, _: str) -> None:
    reference = reference_of(theirs.left)
    names = reference.names()
    theirs.leave_out('the reference never uses this norm', UNUSED_NORM)
    if reference == Reference('cast', 'composition'):
        theirs.leave_out(
            'verb and noun classifiers of CAST read features directly',
            *LAST_ADAPTERS,
        )
    if reference.family != 'cava':
        # VideoMAE has no key bias; ours is zero there.
        for i in theirs.layers('blocks.'):
            parts = [f'blocks.{i}.attn.{letter}_bias' for letter in 'qkv']
            ours = TEMPORAL_BIAS.format(i)
            theirs.take(ours, *parts, optional=parts[1])
    for key in list(theirs.left):
        ours = rename(key, names)
        theirs.take(ours, key, new_axes=NEW_AXES.get(key, 0))
    _require_all_layers(theirs)
    theirs.notes += _notes_on(reference, theirs.state_dict)


def _require_all_layers(conversion: Conversion) -> None:
    """Raise ``KeyError`` if a layer of an expert lacks what others have."""
    layers: dict[tuple[str, str], set[int]] = {}
    for key in conversion.state_dict:
        if match := _EXPERT_LAYER.fullmatch(key):
            layers.setdefault((match[1], match[3]), set()).add(int(match[2]))
    depth = 1 + max(chain.from_iterable(layers.values()), default=-1)
    for (expert, name), found in layers.items():
        if lost := set(range(depth)) - found:
            raise KeyError(
                f'{conversion.title}: the checkpoint lacks '
                f"'{expert}.{min(lost)}.{name}'; it is incomplete"
            )


REFERENCES = tuple(
    Layout(
        f'{family}_reference',
        f'{title}, the code of its authors',
        family,
        lambda keys, family=family: (
            ''
            if is_reference(keys) and reference_of(keys).family == family
            else None
        ),
        _take_reference,
    )
    for family, title in dict(cast='CAST', cava='CAVA', ca2st='CA2ST').items()
)


def to_reference(
    state_dict: Mapping[str, Tensor], check_key_bias: bool = True
) -> dict[str, Tensor]:
    """Rename our state dict to the authors' names.

    Args:
        state_dict: Parameters (or gradients) of our recognizer by name.
        check_key_bias: Whether a key bias that the reference cannot hold is
            an error.  Gradients of it are of no use and may be dropped.

    Returns:
        State dict by the authors' names.  The norm that they own but never
        use is filled with the spatial one, as their loader does.

    Raises:
        KeyError: If a key of ours has no place in the reference.
        ValueError: If VideoMAE has a key bias, or it is no CAST, CAVA or
            CA2ST.
    """
    reference = reference_of(state_dict)
    names = {ours: theirs for theirs, ours in reference.names().items()}
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
    if reference.family != 'cast':
        for kind in ('weight', 'bias'):
            if f'{SPATIAL_NORM}.{kind}' in out:
                spatial = out[f'{SPATIAL_NORM}.{kind}']
                out[f'{UNUSED_NORM}.{kind}'] = spatial.clone()
    return out


_MAYBE_UNUSED = (
    'the audio links carry position tables next to time encoders; checkpoints '
    'from before 2024-08-26 carry them even where training did not use them: '
    'leave them out (drop_audio_positions) if the run did not use them'
)


def _notes_on(reference: Reference, ours: Mapping[str, Tensor]) -> list[str]:
    """What names cannot tell, for whoever converts an authors' checkpoint."""
    notes = []
    if reference == Reference('cast', 'single'):
        notes.append(
            "names do not tell how the head fuses: the authors' CAST code "
            '(released SSV2 and K400 weights) sums adapters of type '
            "'Adapter', their later code takes reduction='mean' of type "
            "'ResidualAdapter'"
        )
    if reference.family == 'cava':
        notes.append('CAVA needs norm_eps=1e-6 in CLIPExpert')
    pairs = [
        (ours[key], ours[other])
        for key in ours
        for a, b in SAME_EXPERT
        if f'.{a}.' in key
        and (other := key.replace(f'.{a}.', f'.{b}.')) in ours
    ]
    if pairs and all(torch.equal(a, b) for a, b in pairs):
        notes.append(
            'the links of each expert have equal bottlenecks: give '
            'MultiExpertBackbone share_bottlenecks=True'
        )
    if any(key.startswith('backbone.time_encoders.') for key in ours):
        notes.append(
            'the authors trained time encodings on a transposed grid: give '
            "ASTExpert clock='transposed'"
        )
        if any(AUDIO_TABLE.match(key) for key in ours):
            notes.append(_MAYBE_UNUSED)
    return notes
