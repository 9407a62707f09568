# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The authors' checkpoints to ours and back: every bit, every key."""

import re

import pytest
import torch
from golden_cases import GoldenCase
from layouts import reference_weights as weights_of

from ca2st_mm.checkpoints import (
    SOURCES,
    detect_source,
    drop_audio_positions,
    from_reference,
    layout_of_ours,
    to_reference,
    unwrap,
)

NAMES = [
    'cast_single',
    'cast_compo',
    'cast_compo_bida',
    'cava_single',
    'cava_compo',
    'cava_single_nopos_notime',
    'ca2st_single',
    'ca2st_compo',
    'ca2st_compo_CA0share',
]
IGNORED = dict(
    cast_single=set(),
    cast_compo=set(),
    cast_compo_bida={
        f'{which}_last_Adapter.D_fc{n}.{kind}'
        for which in ('noun', 'verb')
        for n in (1, 2)
        for kind in ('weight', 'bias')
    },
)
NEVER_USED = {'audio_ln_post.weight', 'audio_ln_post.bias'}


@pytest.mark.parametrize('name', NAMES)
def test_there_and_back(name):
    theirs = weights_of(name)
    family = name.split('_')[0]
    source = detect_source(theirs)
    assert source is SOURCES[f'{family}_reference']
    conversion = source.to_ours(theirs)
    ours = conversion.state_dict
    assert detect_source(ours).name == 'ca2st_mm'
    # Every key is used once or left out.
    used = [key for keys in conversion.origins.values() for key in keys]
    assert len(used) == len(set(used))
    assert set(used) | set(conversion.ignored) == set(theirs)
    assert set(conversion.ignored) == IGNORED.get(name, NEVER_USED)
    assert set(conversion.origins) == set(ours)
    kind = 'composition' if 'compo' in name else 'single'
    layout = layout_of_ours(ours)
    assert (layout.family, layout.head) == (family, kind)
    unused = {key: theirs[key] for key in conversion.ignored}
    back = to_reference(ours, layout, unused=unused)
    assert set(back) == set(theirs)
    assert all(torch.equal(back[key], theirs[key]) for key in theirs)


def test_the_unused_norm_is_filled_as_the_reference_fills_it():
    theirs = weights_of('cava_single')
    ours = from_reference(theirs).state_dict
    back = to_reference(ours, layout_of_ours(ours))
    assert set(back) == set(theirs)
    for kind in ('weight', 'bias'):
        spatial = theirs[f'clip_ln_post.{kind}']
        assert torch.equal(back[f'audio_ln_post.{kind}'], spatial)


def test_deepspeed_in_half_precision():
    half = weights_of('ca2st_single', torch.float16)
    container = dict(module=half, optimizer=None, mp_world_size=1)
    state_dict, how = unwrap(container)
    assert how == 'module'
    source = detect_source(state_dict)
    conversion = source.to_ours(state_dict)
    count = len(conversion.state_dict)
    assert f'{count} tensors of float16 became float32' in conversion.notes
    kinds = {value.dtype for value in conversion.state_dict.values()}
    assert kinds == {torch.float32}
    ours = conversion.state_dict
    back = to_reference(ours, layout_of_ours(ours))
    for key in set(half) - NEVER_USED:
        assert torch.equal(back[key].half(), half[key]), key


def early(theirs):
    """The tables that CA2ST had before 2024-08-26, used or not."""
    tables = {}
    for key in theirs:
        found = re.match(
            r'(blocks\.\d+\.(s|t)_audio_b_cast\.(l2r|r2l)_cross)\.q\.', key
        )
        if found:
            video = dict(s='clip', t='vmae')[found.group(2)]
            for side in (video, 'audio'):
                for kind in ('space', 'temporal'):
                    name = f'{found.group(1)}.{side}_{kind}_pos'
                    tables[name] = torch.randn(3, 4)
    return tables


def test_unused_position_tables_are_left_out_when_asked_only():
    late = weights_of('ca2st_compo')
    tables = early(late)
    assert len(tables) == 3 * 2 * 2 * 4
    kept = from_reference({**late, **tables})
    assert not set(tables) & set(kept.ignored)
    assert any('drop_audio_positions' in note for note in kept.notes)
    dropped = drop_audio_positions(kept)
    assert set(dropped.ignored) == set(tables) | NEVER_USED
    assert not any('drop_audio_positions' in n for n in dropped.notes)
    expected = from_reference(late).state_dict
    assert set(dropped.state_dict) == set(expected)
    # The tables of the space-time links stay.
    assert sum('_table' in key for key in dropped.state_dict) == 12 * 4


def test_dropping_tables_that_are_not_there_is_an_error():
    conversion = from_reference(weights_of('ca2st_single'))
    with pytest.raises(ValueError, match='no position tables'):
        drop_audio_positions(conversion)


@pytest.mark.parametrize(
    'name, shared',
    [
        ('ca2st_tiny_share', True),
        ('ca2st_tiny_single', False),
        ('cast_tiny_single', False),
    ],
)
def test_shared_bottlenecks_are_told_by_their_values(name, shared):
    theirs = GoldenCase(name).reference_state_dict()
    notes = from_reference(theirs).notes
    assert any('share_bottlenecks=True' in note for note in notes) == shared


def test_a_key_bias_cannot_be_written():
    conversion = from_reference(weights_of('cast_single'))
    key = 'backbone.experts.temporal.layers.0.attention.attn.qkv.bias'
    third = len(conversion.state_dict[key]) // 3
    conversion.state_dict[key][third] = 1
    ours = conversion.state_dict
    with pytest.raises(ValueError, match='has a key bias'):
        to_reference(ours, layout_of_ours(ours))


def test_another_family_is_named():
    cast = weights_of('cast_single')
    with pytest.raises(ValueError, match='this is no CAVA'):
        SOURCES['cava_reference'].to_ours(cast)


@pytest.mark.parametrize('lost', ['q_bias', 'v_bias'])
def test_a_lost_bias_is_named(lost):
    theirs = weights_of('cast_single')
    del theirs[f'blocks.7.attn.{lost}']
    with pytest.raises(KeyError, match=rf"lacks 'blocks\.7\.attn\.{lost}'"):
        from_reference(theirs)


@pytest.mark.parametrize('key', ['blocks.3.new_part.weight', 'new_part'])
def test_an_unknown_key_is_named(key):
    theirs = weights_of('ca2st_single')
    theirs[key] = torch.zeros(2)
    with pytest.raises(KeyError, match=f"'{key}'"):
        from_reference(theirs)
