# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The authors' CAST, CAVA and CA2ST checkpoints to ours and back."""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial

from torch import Tensor

from .conversion import Conversion, Layout

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
        'layers.{i}.attention.attn.qkv': 'blocks.{i}.clip_attn.in_proj',
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
# Cross-attention between two experts, a and b.  Columns: family, our name,
# module that holds theirs, their letters of a and b, the attention that a
# queries, what its projections begin with, the same for b, their words for
# position tables of a, of b, and of time.  CAVA has CAST's names: s is audio
# and t spatial, but the tables named clip are of the queries of t2s: audio.
LINKS = """
cast  spatial_temporal -              st t2s t2s_ s2t s2t_ clip vmae  time
cava  spatial_audio    -              ts s2t s2t_ t2s t2s_ vmae clip  temporal
ca2st spatial_temporal s_t_b_cast     lr r2l t2s_ l2r s2t_ clip vmae  time
ca2st spatial_audio    s_audio_b_cast lr r2l -    l2r -    clip audio temporal
ca2st temporal_audio   t_audio_b_cast lr r2l -    l2r -    vmae audio temporal
"""
# Their layers of the time encoders: three linear ones and a norm.
TIME_LAYERS = dict(cast='', cava='0 2.0 3.0 4', ca2st='0 2 4 6')
# A norm that the authors' code owns and never uses.
UNUSED_NORM = 'audio_ln_post'
LAST_ADAPTERS = 'noun_last_Adapter verb_last_Adapter'
# Of theirs, how many leading axes of size 1 ours have more.
NEW_AXES = {'clip_class_embedding': 2, 'clip_positional_embedding': 1}


def names_of(family: str, composition: bool) -> dict[str, str]:
    """Modules and parameters, ours -> theirs; ``{i}`` is a layer.

    The arguments are what :func:`reference_of` returns.
    """
    names = _head_names(family, composition)
    for expert, (model, letter) in EXPERTS[family].items():
        front = f'backbone.experts.{expert}.'
        names |= {front + k: theirs for k, theirs in PARTS[model].items()}
        layer, block = front + 'layers.{i}', 'blocks.{i}.' + letter
        names |= _mlp(f'{layer}.attention.adapter', f'{block}_Adapter')
        names |= _mlp(f'{layer}.ffn.adapter', f'{block}_MLP_Adapter')
    for row in LINKS.strip().splitlines():
        of, *cells = row.split()
        if of == family:
            names |= _link_names(cells)
    layers = TIME_LAYERS[family].split()
    for theirs, stream in (('time_mlp', 'imgs'), ('audio_time_mlp', 'audios')):
        ours = f'backbone.time_encoders.{stream}'
        parts = ('mlp.0', 'mlp.2', 'mlp.4', 'norm')
        for part, layer in zip(parts, layers, strict=False):
            names[f'{ours}.{part}'] = f'{theirs}.{layer}'
    return names


def _mlp(
    ours: str, theirs: str, down: str = '.D_fc1', up: str = '.D_fc2'
) -> dict[str, str]:
    return {f'{ours}.down': theirs + down, f'{ours}.up': theirs + up}


def _link_names(row: Sequence[str]) -> dict[str, str]:
    """Names of one row of :data:`LINKS`, but for its family."""
    link, block, letters, to_a, words_a, to_b, words_b, *tables, time = row
    ours, names = f'backbone.links.{{i}}.{link}', {}
    theirs = 'blocks.{i}.' + ('' if block == '-' else f'{block}.')
    for end, letter in zip('ab', letters, strict=True):
        cross = f'{theirs}cross_{letter}'
        names |= _mlp(f'{ours}.bottleneck_{end}', cross, '_down', '_up')
        names[f'{ours}.norm_{end}'] = f'{theirs}ln_{letter}_cross'
    for cross, module, front, sides in (
        (f'{ours}.a_from_b', f'{theirs}{to_a}_cross', words_a, tables),
        (f'{ours}.b_from_a', f'{theirs}{to_b}_cross', words_b, tables[::-1]),
    ):
        words = ('q', 'kv', 'proj')
        if front != '-':  # the authors call both output projections t2s_proj
            words = (f'{front}q', f'{front}kv', 't2s_proj')
        for part, word in zip(('q', 'kv', 'proj'), words, strict=True):
            names[f'{cross}.attn.{part}'] = f'{module}.{word}'
        for side, word in zip(('query', 'context'), sides, strict=True):
            grid = f'{cross}.{side}_positions.0'
            names[f'{grid}.space_table'] = f'{module}.{word}_space_pos'
            names[f'{grid}.time_table'] = f'{module}.{word}_{time}_pos'
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
    last_noun, last_verb = LAST_ADAPTERS.split()
    if family == 'cava':
        # Both classifiers of CAVA read one fusion; ours keeps it under 'verb'.
        names |= _mlp(f'{verb}.audio', last_noun)
        names |= _mlp(f'{verb}.spatial', last_verb)
    elif family == 'ca2st' or not composition:
        names |= _mlp(f'{noun}.spatial', last_noun)
        names |= _mlp(f'{verb}.temporal', last_verb)
    if family == 'ca2st':
        words = ('.c_fc', '.c_proj')
        names |= _mlp(f'{verb}.audio', f'audio_{last_verb}', *words)
        if composition:
            names |= _mlp(f'{noun}.audio', f'audio_{last_noun}', *words)
    return names


def rename(key: str, names: Mapping[str, str]) -> str | None:
    """Translate a key by the longest module or parameter that has a name.

    Args:
        key: A key of ours, or of theirs.
        names: As :func:`names_of` gives them, or turned round.

    Example:
        >>> rename('cls_head.fc_cls.bias', {'cls_head.fc_cls': 'head'})
        'head.bias'
    """
    start = re.sub(r'_(weight|bias)$', r'.\1', key)  # in_proj_weight, q_bias
    end, layer = '', re.search(r'\b(?:blocks|layers|links)\.(\d+)\.', key)
    if layer:
        start = f'{start[: layer.start(1)]}{{i}}{start[layer.end(1) :]}'
    while start not in names:
        start, dot, last = start.rpartition('.')
        if not dot:
            return None
        end = f'.{last}{end}'
    return names[start].replace('{i}', layer[1] if layer else '') + end


def is_reference(keys: Collection[str]) -> bool:
    """Whether the names are of a model of the authors."""
    return 'clip_conv1.weight' in keys


def reference_of(keys: Collection[str]) -> tuple[str, bool]:
    """Which model of the authors keys are of, in their names or ours.

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
        ' is no CAST, CAVA or CA2ST, whose keys begin with '
        "'backbone.experts.spatial.' and so on"
    )


def _take(theirs: Conversion, _: str) -> None:
    family, composition = reference_of(theirs.left)
    names = {v: k for k, v in names_of(family, composition).items()}
    theirs.leave_out('the reference never uses this norm', UNUSED_NORM)
    if family == 'cast' and composition:
        theirs.leave_out(
            'verb and noun classifiers of CAST read features directly',
            LAST_ADAPTERS,
        )
    theirs.translate(lambda key: rename(key, names))
    theirs.notes.append(
        '`ca2st convert FILE --dry-run` prints what the config must say'
    )


def _find(family: str, keys: Collection[str]) -> str | None:
    found = is_reference(keys) and reference_of(keys)[0] == family
    return '' if found else None


REFERENCES = tuple(
    Layout(f'{family}_reference', partial(_find, family), _take)
    for family in EXPERTS
)


def to_reference(
    state_dict: Mapping[str, Tensor], check_key_bias: bool = True
) -> dict[str, Tensor]:
    """Rename our state dict to the authors' names.

    The norm that they own but never use becomes a copy of the spatial one.

    Args:
        state_dict: Parameters (or gradients) of our recognizer by name.
        check_key_bias: Whether a key bias, which the reference cannot hold,
            is an error; gradients of it are of no use.

    Raises:
        KeyError: If a key of ours has no name there.
        ValueError: If there is a key bias, or it is no CAST, CAVA or CA2ST.
    """
    family, composition = reference_of(state_dict)
    names, out = names_of(family, composition), {}
    for ours, value in state_dict.items():
        key = rename(ours, names)
        if key is None:
            raise KeyError(f"{ours!r} has no name in the authors' {family}")
        key = re.sub(r'in_proj\.(?=weight|bias)', 'in_proj_', key)
        key = re.sub(r'(?<=[._])(q|kv)\.bias$', r'\1_bias', key)
        if not re.fullmatch(r'blocks\.\d+\.attn\.qkv\.bias', key):
            out[key] = value[(0,) * NEW_AXES.get(key, 0)]
            continue
        q_bias, k_bias, v_bias = value.chunk(3)
        if check_key_bias and k_bias.any():
            raise ValueError(
                f'{key!r} has a key bias, which the reference cannot hold; '
                'set it to zero, as it has no effect'
            )
        attn = key.removesuffix('qkv.bias')
        out[f'{attn}q_bias'], out[f'{attn}v_bias'] = q_bias, v_bias
    for kind in ('weight', 'bias'):
        spatial = out.get(f'clip_ln_post.{kind}')
        if family != 'cast' and spatial is not None:
            out[f'{UNUSED_NORM}.{kind}'] = spatial.clone()
    return out
