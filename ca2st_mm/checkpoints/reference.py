# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The authors' CAST, CAVA and CA2ST checkpoints to ours and back."""

import re
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from .conversion import Conversion, Layout

TITLES = dict(cast='CAST', cava='CAVA', ca2st='CA2ST')
# Experts by family: whose they are, and what their adapters begin with.
EXPERTS = dict(
    cast=dict(spatial=('clip', 'S'), temporal=('videomae', 'T')),
    cava=dict(audio=('ast', 'S'), spatial=('clip', 'T')),
    ca2st=dict(
        spatial=('clip', 'S'),
        temporal=('videomae', 'T'),
        audio=('ast', 'Audio'),
    ),
)
# Ours: theirs.  `{i}` is a layer.
PARTS = dict(
    clip={
        'cls_token': 'clip_class_embedding',
        'pos_embed': 'clip_positional_embedding',
        'patch_embed': 'clip_conv1',
        'pre_norm': 'clip_ln_pre',
        'norm': 'clip_ln_post',
        'layers.{i}.attention.norm': 'blocks.{i}.clip_ln_1',
        'layers.{i}.attention.attn.qkv.weight': (
            'blocks.{i}.clip_attn.in_proj_weight'
        ),
        'layers.{i}.attention.attn.qkv.bias': (
            'blocks.{i}.clip_attn.in_proj_bias'
        ),
        'layers.{i}.attention.attn.proj': 'blocks.{i}.clip_attn.out_proj',
        'layers.{i}.ffn.norm': 'blocks.{i}.clip_ln_2',
        'layers.{i}.ffn.fc1': 'blocks.{i}.clip_mlp.c_fc',
        'layers.{i}.ffn.fc2': 'blocks.{i}.clip_mlp.c_proj',
    },
    videomae={
        'patch_embed': 'patch_embed.proj',
        'norm': 'vmae_fc_norm',
        'layers.{i}.attention.norm': 'blocks.{i}.norm1',
        'layers.{i}.attention.attn': 'blocks.{i}.attn',
        'layers.{i}.ffn.norm': 'blocks.{i}.norm2',
        'layers.{i}.ffn': 'blocks.{i}.mlp',
    },
    ast={
        'cls_token': 'ast_cls_token',
        'dist_token': 'ast_dist_token',
        'pos_embed': 'ast_pos_embed',
        'patch_embed': 'ast_patch_embed.proj',
        'norm': 'ast_norm',
        'layers.{i}.attention.norm': 'blocks.{i}.ast_norm1',
        'layers.{i}.attention.attn': 'blocks.{i}.ast_attn',
        'layers.{i}.ffn.norm': 'blocks.{i}.ast_norm2',
        'layers.{i}.ffn': 'blocks.{i}.ast_mlp',
    },
)
# A norm that the authors' code owns and never uses.
UNUSED_NORM, SPATIAL_NORM = 'audio_ln_post', 'clip_ln_post'
LAST_ADAPTERS = ('noun_last_Adapter', 'verb_last_Adapter')
# Of theirs, how many leading axes of size 1 ours have more.
NEW_AXES = {'clip_class_embedding': 2, 'clip_positional_embedding': 1}
AUDIO_TABLE = re.compile(
    r'backbone\.links\.\d+\.(spatial|temporal)_audio\.'
    r'(a_from_b|b_from_a)\.(query|context)_positions\.'
)
# Bottlenecks of one expert in two links.
SAME_EXPERT = (
    ('spatial_audio.bottleneck_a', 'spatial_temporal.bottleneck_a'),
    ('temporal_audio.bottleneck_a', 'spatial_temporal.bottleneck_b'),
    ('spatial_audio.bottleneck_b', 'temporal_audio.bottleneck_b'),
)


def names_of(family: str, composition: bool) -> dict[str, str]:
    """Modules and parameters, ours -> theirs; ``{i}`` is a layer.

    Args:
        family: 'cast', 'cava' or 'ca2st'.
        composition: Whether the head is of verb and noun.
    """
    names = _head_names(family, composition)
    for expert, (model, letter) in EXPERTS[family].items():
        front = f'backbone.experts.{expert}.'
        names |= {front + k: theirs for k, theirs in PARTS[model].items()}
        layer, block = front + 'layers.{i}', 'blocks.{i}.' + letter
        names |= _mlp(f'{layer}.attention.adapter', f'{block}_Adapter')
        names |= _mlp(f'{layer}.ffn.adapter', f'{block}_MLP_Adapter')
    # The authors call both output projections t2s_proj.
    t2s = ('t2s_q', 't2s_kv', 't2s_proj')
    s2t = ('s2t_q', 's2t_kv', 't2s_proj')
    plain = ('q', 'kv', 'proj')
    if family == 'cast':
        names |= _link_names(
            'spatial_temporal',
            'blocks.{i}',
            'st',
            ('t2s_cross', *t2s),
            ('s2t_cross', *s2t),
            ('clip', 'vmae'),
            'time',
        )
    elif family == 'cava':
        # CAVA has CAST's names: s is audio and t spatial, but the tables
        # named clip are of the queries of t2s, which are audio.
        names |= _link_names(
            'spatial_audio',
            'blocks.{i}',
            'ts',
            ('s2t_cross', *s2t),
            ('t2s_cross', *t2s),
            ('vmae', 'clip'),
        )
        names |= _time_names(('0', '2.0', '3.0'), '4')
    else:
        for link, block, words, tables, time in (
            ('spatial_temporal', 's_t', (t2s, s2t), ('clip', 'vmae'), 'time'),
            (
                'spatial_audio',
                's_audio',
                (plain, plain),
                ('clip', 'audio'),
                'temporal',
            ),
            (
                'temporal_audio',
                't_audio',
                (plain, plain),
                ('vmae', 'audio'),
                'temporal',
            ),
        ):
            names |= _link_names(
                link,
                'blocks.{i}.' + f'{block}_b_cast',
                'lr',
                ('r2l_cross', *words[0]),
                ('l2r_cross', *words[1]),
                tables,
                time,
            )
        names |= _time_names(('0', '2', '4'), '6')
    return names


def _mlp(
    ours: str, theirs: str, down: str = 'D_fc1', up: str = 'D_fc2'
) -> dict[str, str]:
    return {f'{ours}.down': f'{theirs}.{down}', f'{ours}.up': f'{theirs}.{up}'}


def _link_names(
    link: str,
    theirs: str,
    ends: str,
    to_a: tuple[str, ...],
    to_b: tuple[str, ...],
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
    ours, names = 'backbone.links.{i}.' + link, {}
    for end, letter in zip('ab', ends, strict=True):
        names |= {
            f'{ours}.bottleneck_{end}.down': f'{theirs}.cross_{letter}_down',
            f'{ours}.bottleneck_{end}.up': f'{theirs}.cross_{letter}_up',
            f'{ours}.norm_{end}': f'{theirs}.ln_{letter}_cross',
        }
    for direction, (module, q, kv, proj), words in (
        ('a_from_b', to_a, tables),
        ('b_from_a', to_b, tables[::-1]),
    ):
        cross, module = f'{ours}.{direction}', f'{theirs}.{module}'
        names |= {
            f'{cross}.attn.q.weight': f'{module}.{q}.weight',
            f'{cross}.attn.q.bias': f'{module}.{q}_bias',
            f'{cross}.attn.kv.weight': f'{module}.{kv}.weight',
            f'{cross}.attn.kv.bias': f'{module}.{kv}_bias',
            f'{cross}.attn.proj': f'{module}.{proj}',
        }
        for side, word in zip(('query', 'context'), words, strict=True):
            positions = f'{cross}.{side}_positions.0'
            names[f'{positions}.space_table'] = f'{module}.{word}_space_pos'
            names[f'{positions}.time_table'] = f'{module}.{word}_{time}_pos'
    return names


def _time_names(linears: tuple[str, str, str], norm: str) -> dict[str, str]:
    """Names of the time encoders, by theirs of the layers of each."""
    names = {}
    for theirs, stream in (('time_mlp', 'imgs'), ('audio_time_mlp', 'audios')):
        ours = f'backbone.time_encoders.{stream}'
        for index, linear in zip((0, 2, 4), linears, strict=True):
            names[f'{ours}.mlp.{index}'] = f'{theirs}.{linear}'
        names[f'{ours}.norm'] = f'{theirs}.{norm}'
    return names


def _head_names(family: str, composition: bool) -> dict[str, str]:
    names = {'cls_head.fc_cls': 'head'}
    noun = verb = 'cls_head.fusion.adapters'
    if composition:
        names = {
            'cls_head.fc_noun': 'head_noun',
            'cls_head.fc_verb': 'head_verb',
        }
        noun = 'cls_head.fusions.noun.adapters'
        verb = 'cls_head.fusions.verb.adapters'
    last_noun, last_verb = LAST_ADAPTERS
    if family == 'cava':
        # Both classifiers of CAVA read one fusion; ours keeps it under 'verb'.
        names |= _mlp(f'{verb}.audio', last_noun)
        names |= _mlp(f'{verb}.spatial', last_verb)
    elif family == 'ca2st' or not composition:
        names |= _mlp(f'{noun}.spatial', last_noun)
        names |= _mlp(f'{verb}.temporal', last_verb)
    if family == 'ca2st':
        words = ('c_fc', 'c_proj')
        names |= _mlp(f'{verb}.audio', f'audio_{last_verb}', *words)
        if composition:
            names |= _mlp(f'{noun}.audio', f'audio_{last_noun}', *words)
    return names


def rename(key: str, names: Mapping[str, str]) -> str:
    """Translate a key by the longest module or parameter that has a name.

    Args:
        key: A key of ours, or of theirs.
        names: As :func:`names_of` gives them, or turned round.

    Raises:
        KeyError: If nothing at the start of the key has a name.

    Example:
        >>> rename('cls_head.fc_cls.bias', {'cls_head.fc_cls': 'head'})
        'head.bias'
    """
    start, end = key, ''
    layer = re.search(r'\b(?:blocks|layers|links)\.(\d+)\.', key)
    if layer:
        start = f'{key[: layer.start(1)]}{{i}}{key[layer.end(1) :]}'
    while start not in names:
        start, dot, last = start.rpartition('.')
        if not dot:
            raise KeyError(
                f'no name is known for the key {key!r}; the checkpoint is of '
                'another model or a newer layout'
            )
        end = f'.{last}{end}'
    return names[start].replace('{i}', layer[1] if layer else '') + end


def is_reference(keys: Iterable[str]) -> bool:
    """Whether the names are of a model of the authors."""
    return any(key.startswith('clip_conv1.') for key in keys)


def reference_of(keys: Collection[str]) -> tuple[str, bool]:
    """Which model of the authors a state dict is of, or can be written as.

    Args:
        keys: A state dict or its keys, in names of theirs or of ours.

    Returns:
        'cast', 'cava' or 'ca2st', and whether the head is of verb and noun.

    Raises:
        ValueError: If it is of none of them.

    Example:
        >>> reference_of(['clip_conv1.weight', 'head_verb.bias'])
        ('cast', True)
    """
    composition = any(
        key.startswith(('head_verb', 'cls_head.fc_verb')) for key in keys
    )
    if is_reference(keys):
        if any('.s_t_b_cast.' in key for key in keys):
            return 'ca2st', composition
        is_cava = any(key.startswith('ast_') for key in keys)
        return 'cava' if is_cava else 'cast', composition
    found = (re.match(r'backbone\.experts\.(\w+)\.', key) for key in keys)
    experts = {match[1] for match in found if match}
    for family, known in EXPERTS.items():
        if experts == set(known):
            return family, composition
    raise ValueError(
        f'a recognizer with the experts {", ".join(sorted(experts)) or "none"}'
        ' is no CAST, CAVA or CA2ST; its keys must begin with '
        "'backbone.experts.spatial.' and so on, or with 'clip_conv1.' in the "
        "authors' names"
    )


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
    family, composition = reference_of(theirs.left)
    names = {v: k for k, v in names_of(family, composition).items()}
    theirs.leave_out('the reference never uses this norm', UNUSED_NORM)
    if family == 'cast' and composition:
        theirs.leave_out(
            'verb and noun classifiers of CAST read features directly',
            *LAST_ADAPTERS,
        )
    for key in list(theirs.left):
        ours = rename(key, names)
        if match := re.fullmatch(r'(blocks\.\d+\.attn\.)(q|k|v)_bias', key):
            ours = ours.replace(f'{match[2]}_bias', 'qkv.bias')
            if ours not in theirs.state_dict:
                # VideoMAE has no key bias; ours is zero there.
                theirs.take(
                    ours,
                    *(f'{match[1]}{x}_bias' for x in 'qkv'),
                    optional=f'{match[1]}k_bias',
                )
        else:
            theirs.take(ours, key)
    _require_all_layers(theirs)
    theirs.notes += _notes_on(family, composition, theirs.state_dict)


def _require_all_layers(conversion: Conversion) -> None:
    """Raise ``KeyError`` if a layer of an expert lacks what others have."""
    layers: dict[tuple[str, str], set[int]] = {}
    for key in conversion.state_dict:
        if match := re.match(r'(backbone\.experts.+?layers)\.(\d+)\.', key):
            part = match[1], key[match.end() :]
            layers.setdefault(part, set()).add(int(match[2]))
    depth = 1 + max(chain.from_iterable(layers.values()), default=-1)
    for (expert, name), found in layers.items():
        if lost := set(range(depth)) - found:
            raise KeyError(
                f'{conversion.title}: the checkpoint lacks '
                f"'{expert}.{min(lost)}.{name}'; it is incomplete"
            )


def _find_family(family: str, keys: Collection[str]) -> str | None:
    is_theirs = is_reference(keys) and reference_of(keys)[0] == family
    return '' if is_theirs else None


REFERENCES = tuple(
    Layout(
        f'{family}_reference',
        f'{title}, the code of its authors',
        partial(_find_family, family),
        _take_reference,
    )
    for family, title in TITLES.items()
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
    family, composition = reference_of(state_dict)
    names, out = names_of(family, composition), {}
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
        attn = key.removesuffix('qkv.bias')
        out[f'{attn}q_bias'], out[f'{attn}v_bias'] = q_bias, v_bias
    if family != 'cast':
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


def _notes_on(
    family: str, composition: bool, ours: Mapping[str, Tensor]
) -> list[str]:
    """What names cannot tell, for whoever converts an authors' checkpoint."""
    notes = []
    if family == 'cast' and not composition:
        notes.append(
            "names do not tell how the head fuses: the authors' CAST code "
            '(released SSV2 and K400 weights) sums adapters of type '
            "'Adapter', their later code takes reduction='mean' of type "
            "'ResidualAdapter'"
        )
    if family == 'cava':
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
