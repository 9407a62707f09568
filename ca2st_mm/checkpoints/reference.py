# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The authors' CAST, CAVA and CA2ST checkpoints to ours and back.

The names are those of ``reference.csv``.
"""

import csv
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor

from .conversion import Conversion, Layout, rename

# The first tensor of each expert in the authors' models, and the experts.
FIRST = dict(
    spatial='clip_conv1.weight',
    temporal='patch_embed.proj.weight',
    audio='ast_patch_embed.proj.weight',
)
FAMILIES = {
    ('spatial', 'temporal'): 'cast',
    ('spatial', 'audio'): 'cava',
    ('spatial', 'temporal', 'audio'): 'ca2st',
}
# A norm that the authors' code owns and never uses.
UNUSED_NORM = 'audio_ln_post'
LAST_ADAPTERS = 'noun_last_Adapter verb_last_Adapter'
# Of theirs, how many leading axes of size 1 ours have more.
NEW_AXES = {'clip_class_embedding': 2, 'clip_positional_embedding': 1}


def names_of(family: str, composition: bool) -> dict[str, str]:
    """Modules and parameters, ours -> theirs; ``{i}`` is a layer.

    The arguments are what :func:`reference_of` returns.

    CAVA has CAST's names: ``s`` and ``t2s`` are of audio, and so are the
    tables named ``clip`` there.  Both output projections are ``t2s_proj``.
    """
    heads = ('any', 'verb and noun' if composition else 'one')
    table = Path(__file__).with_name('reference.csv')
    with table.open(newline='') as file:
        return {
            row['ours']: row['theirs']
            for row in csv.DictReader(file)
            if family in row['models'].split() and row['head'] in heads
        }


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
        >>> reference_of([*FIRST.values(), 'head_verb.bias'])
        ('ca2st', True)
    """
    experts = {name for name, first in FIRST.items() if first in keys}
    if not experts:
        found = (re.match(r'backbone\.experts\.([^.]+)\.', k) for k in keys)
        experts = {match[1] for match in found if match}
    family = next((f for e, f in FAMILIES.items() if set(e) == experts), None)
    if family is None:
        names = ', '.join(sorted(experts)) or 'none'
        raise ValueError(
            f'a recognizer with the experts {names} is no CAST, CAVA or CA2ST,'
            " whose keys begin with 'backbone.experts.spatial.' and so on"
        )
    heads = ('head_verb', 'cls_head.fc_verb')
    return family, any(key.startswith(heads) for key in keys)


def _take(theirs: Conversion, _: str) -> None:
    family, composition = reference_of(theirs.left)
    names = {v: k for k, v in names_of(family, composition).items()}
    theirs.leave_out('the reference never uses this norm', UNUSED_NORM)
    if family == 'cast' and composition:
        theirs.leave_out(
            'verb and noun classifiers of CAST read features directly',
            LAST_ADAPTERS,
        )
    theirs.translate(names)
    theirs.notes.append(
        '`ca2st convert FILE --dry-run` prints what the config must say'
    )


REFERENCES = tuple(
    Layout(
        f'{family}_reference',
        _take,
        ' '.join(FIRST[name] for name in experts),
        next((f for n, f in FIRST.items() if n not in experts), '-'),
        is_expert=False,
    )
    for experts, family in FAMILIES.items()
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
