# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The authors' checkpoints to ours and back: every bit, every key."""

import pytest
import torch
from layouts import reference_weights as weights_of

from ca2st_mm.checkpoints import (
    LAYOUTS,
    detect_layout,
    to_reference,
)
from ca2st_mm.checkpoints.reference import reference_of

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


def convert(theirs):
    return detect_layout(theirs).convert(theirs)


NEVER_USED = {'audio_ln_post.weight', 'audio_ln_post.bias'}


@pytest.mark.parametrize('half', [False, True])
@pytest.mark.parametrize('name', NAMES)
def test_there_and_back(name, half):
    theirs = weights_of(name, torch.float16 if half else torch.float32)
    family = name.split('_')[0]
    layout = detect_layout(theirs)
    assert layout is LAYOUTS[f'{family}_reference']
    conversion = layout.convert(theirs)
    ours = conversion.state_dict
    assert detect_layout(ours).name == 'ca2st_mm'
    # Every key is used once or left out.
    used = [key for keys in conversion.origins.values() for key in keys]
    assert len(used) == len(set(used))
    assert set(used) | set(conversion.ignored) == set(theirs)
    assert set(conversion.ignored) == IGNORED.get(name, NEVER_USED)
    assert set(conversion.origins) == set(ours)
    assert {value.dtype for value in ours.values()} == {torch.float32}
    assert reference_of(ours) == reference_of(theirs)
    assert reference_of(ours) == (family, 'compo' in name)
    back = to_reference(ours)
    # What they never use is filled as they fill it, or absent.
    for key in conversion.ignored:
        if key in back:
            spatial = theirs[key.replace('audio', 'clip')]
            assert torch.equal(back.pop(key), spatial.float())
    assert set(back) == set(theirs) - set(conversion.ignored)
    assert all(
        torch.equal(back[k].to(v.dtype), v)
        for k, v in theirs.items()
        if k in back
    )


def test_a_key_bias_cannot_be_written():
    ours = convert(weights_of('cast_single')).state_dict
    key = 'backbone.experts.temporal.layers.0.attention.attn.qkv.bias'
    ours[key][len(ours[key]) // 3] = 1
    with pytest.raises(ValueError, match='has a key bias'):
        to_reference(ours)


@pytest.mark.parametrize(
    'lost',
    [
        'blocks.7.attn.q_bias',
        'blocks.7.attn.v_bias',
        'blocks.7.clip_mlp.c_fc.bias',
        'blocks.11.T_Adapter.D_fc1.weight',
    ],
)
def test_a_lost_tensor_is_named(lost):
    theirs = weights_of('cast_single')
    del theirs[lost]
    with pytest.raises(KeyError, match=f"lacks '{lost}"):
        convert(theirs)


@pytest.mark.parametrize('key', ['blocks.3.new_part.weight', 'new_part'])
def test_an_unknown_key_is_named(key):
    theirs = weights_of('ca2st_single')
    theirs[key] = torch.zeros(2)
    with pytest.raises(KeyError, match=f"'{key}'"):
        convert(theirs)


OF_EXPERT = 'backbone.experts.{}.patch_embed.weight'


@pytest.mark.parametrize(
    'keys, kind, words',
    [
        (['a'], ValueError, 'experts none is no CAST'),
        (
            [OF_EXPERT.format(n) for n in ('spatial', 'temporal', 'depth')],
            ValueError,
            'experts depth, spatial, temporal is no CAST',
        ),
        (
            [
                'backbone.experts.spatial.frozen_sha256',
                'backbone.experts.temporal.frozen_sha256',
            ],
            KeyError,
            "frozen_sha256' has no name in the authors' cast",
        ),
    ],
    ids=['none', 'one more', 'a delta'],
)
def test_another_model_is_named(keys, kind, words):
    with pytest.raises(kind, match=words):
        to_reference({key: torch.zeros(1) for key in keys})
