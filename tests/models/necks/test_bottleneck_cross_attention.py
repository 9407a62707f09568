# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The link between two experts: what reaches what, and the numbers."""

import pytest
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from tiny_models import difference, randomize

from ca2st_mm.models.layers import TokenSpec

B, T, N, WIDTH, HEADS = 2, 3, 5, 8, 2
EVERY = ['learned', 'learned_space_time', 'timestamp']
SPEC_A = TokenSpec(16, T, N, 1)
SPEC_B = TokenSpec(12, T, N, 2)
UNLIKE = SPEC_A, TokenSpec(20, 1, 7, 2)


def link(axes=('time', 'space'), specs=(SPEC_A, SPEC_B), **arguments):
    cfg = dict(
        type='BottleneckCrossAttention',
        specs=specs,
        axes=axes,
        num_heads=HEADS,
    )
    return MODELS.build(dict(cfg, **arguments)).eval()


def tokens(spec, seed=0):
    generator = torch.Generator().manual_seed(seed)
    count = spec.num_prefix_tokens + spec.num_patches
    shape = (B, spec.num_steps, count, spec.embed_dims)
    return torch.randn(shape, generator=generator)


def pair():
    return tokens(SPEC_A), tokens(SPEC_B, 1)


def changed(before, after):
    """Which (step, token) differ."""
    return (before - after).abs().amax(dim=(0, 3)) > 1e-6


def test_updates_are_zero_at_init_and_shaped_like_the_tokens():
    a, b = pair()
    for update, x in zip(link()(a, b), (a, b), strict=True):
        assert update.shape == x.shape
        assert not update.any()


@pytest.mark.parametrize(
    'axis, step, patch, reached',
    [
        # A patch at all times: so does what reads it, its own patch.
        ('time', slice(None), 3, (slice(None), 3)),
        # All patches of one step reach that step.
        ('space', 1, slice(None), (1, slice(None))),
        # One patch reaches everything.
        ('all', 1, 2, (slice(None), slice(None))),
    ],
)
@pytest.mark.parametrize('end', [0, 1])
def test_what_a_touched_patch_reaches(axis, step, patch, reached, end):
    prefixes = SPEC_A.num_prefix_tokens, SPEC_B.num_prefix_tokens
    axes = ['time', 'space']  # each direction has its own axis
    axes[end] = axis
    module, before, after = randomize(link(tuple(axes))), pair(), list(pair())
    grid = after[1 - end][:, :, prefixes[1 - end] :]
    # Not only the mean, which a norm removes.
    grid[:, step, patch] += torch.randn_like(grid[:, step, patch])
    moved = changed(module(*before)[end], module(*after)[end])
    expected = torch.zeros(T, N, dtype=bool)
    expected[reached] = True
    assert torch.equal(moved[:, prefixes[end] :], expected)
    assert not moved[:, : prefixes[end]].any()


def test_prefix_tokens_go_down_and_up_alone_and_are_not_read():
    module, (a, b) = randomize(link(('all', 'all'))), pair()
    before = module(a, b)
    bottle = module.bottleneck_a
    expected = module.norm_a(bottle['down'](a[:, :, :1]))
    expected = bottle['up'](F.gelu(expected))
    assert difference(before[0][:, :, :1], expected) < 1e-6
    a[:, :, :1] += torch.randn_like(a[:, :, :1])
    b[:, :, :2] += torch.randn_like(b[:, :, :2])
    for old, new, prefix in zip(before, module(a, b), (1, 2), strict=True):
        assert not changed(old, new)[:, prefix:].any()
        assert changed(old, new)[:, :prefix].all()


@pytest.mark.parametrize('patches', [(True, False), (False, False)])
@pytest.mark.parametrize('axes', [('time', 'space'), ('all', 'all')])
def test_updates_of_patches_that_nothing_reads_are_left_out(axes, patches):
    module, (a, b) = randomize(link(axes, position=EVERY)), pair()
    codes = torch.randn(B, T, 1, WIDTH), torch.randn(B, T, N, WIDTH)
    whole = module(a, b, *codes)
    cut = module(a, b, *codes, update_patches=patches)
    for full, update, needed, prefix in zip(
        whole, cut, patches, (1, 2), strict=True
    ):
        expected = full if needed else full[:, :, :prefix]
        torch.testing.assert_close(update, expected)
    sum(update.square().sum() for update in cut).backward()
    for key, parameter in module.named_parameters():
        # Distributed training waits for every one of them.
        assert parameter.grad is not None, key


@pytest.mark.parametrize('end', [0, 1])
def test_one_direction_updates_one_expert(end):
    axes = ['time', 'space']
    axes[1 - end] = None
    module, (a, b) = randomize(link(tuple(axes))), pair()
    updates = module(a, b)
    assert updates[1 - end] is None
    whole = link()
    whole.load_state_dict(module.state_dict(), strict=False)
    torch.testing.assert_close(updates[end], whole(a, b)[end])
    missing = set(whole.state_dict()) - set(module.state_dict())
    other = 'ab'[1 - end]
    assert {key.rsplit('.', 1)[0] for key in missing} >= {
        f'bottleneck_{other}.up'
    }
    assert not {key for key in missing if key.startswith('norm')}
    updates[end].square().sum().backward()
    for key, parameter in module.named_parameters():
        assert parameter.grad.any(), key


def test_links_may_share_what_one_of_them_does_not_need():
    first = link(('time', None))
    second = link(bottlenecks=(first.bottleneck_a, first.bottleneck_b))
    assert second.bottleneck_b is first.bottleneck_b
    assert 'up' in first.bottleneck_b


def textbook(module, a, b):
    """CAST's update of a (axis 'time'), one query after another."""
    za = module.norm_a(module.bottleneck_a['down'](a[:, :, 1:]))
    zb = module.norm_b(module.bottleneck_b['down'](b[:, :, 2:]))
    side = module.a_from_b
    za = za + side.query_positions[0].time_table[:, None]
    zb = zb + side.context_positions[0].time_table[:, None]
    q = side.attn.q(za).reshape(B, T, N, HEADS, -1)
    k, v = side.attn.kv(zb).reshape(B, T, N, 2, HEADS, -1).unbind(3)
    weights = torch.einsum('btnhc,bsnhc->bnhts', q, k)
    weights = (weights * (HEADS / WIDTH) ** 0.5).softmax(-1)
    read = torch.einsum('bnhts,bsnhc->btnhc', weights, v).flatten(3)
    return module.bottleneck_a['up'](F.gelu(side.attn.proj(read)))


def test_the_numbers_of_a_textbook_reference():
    module, (a, b) = randomize(link()), pair()
    ours = module(a, b)[0][:, :, 1:]
    assert difference(ours, textbook(module, a, b)) < 1e-5


@pytest.mark.parametrize(
    'arguments, message',
    [
        (
            dict(ratio=0.25, bottlenecks=(link().bottleneck_a, None)),
            '8 and 4',
        ),
        (dict(num_heads=16), '16 heads do not divide 8 channels'),
        (dict(axes=('time', 'all'), specs=UNLIKE), 'patches, got 5 and 7'),
        (dict(axes=('all', 'space'), specs=UNLIKE), 'steps, got 1 and 3'),
        (dict(axes=('diagonal', 'all')), "'diagonal'"),
        (dict(position='rotary'), "'rotary'"),
    ],
)
def test_options_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        link(**arguments)


@pytest.mark.parametrize(
    'position, axes, tables',
    [
        ('learned', ('time', 'space'), [{'time'}, {'space'}]),
        ('learned', ('all', 'all'), [{'space', 'time'}] * 2),
        ('learned_space_time', ('time', 'space'), [{'space', 'time'}] * 2),
        (None, ('time', 'space'), [set(), set()]),
        ('timestamp', ('all', 'all'), [set(), set()]),
    ],
)
def test_position_schemes_build_the_tables_they_need(position, axes, tables):
    module = link(axes, position=position)
    for side, expected in zip(
        (module.a_from_b, module.b_from_a), tables, strict=True
    ):
        for end in (side.query_positions, side.context_positions):
            names = {k.split('.')[1] for k, _ in end.named_parameters()}
            assert names == {f'{name}_table' for name in expected}


@pytest.mark.parametrize('position', ['timestamp', ['learned', 'timestamp']])
def test_times_move_the_updates(position):
    module, (a, b) = randomize(link(position=position)), pair()
    codes = [torch.randn(B, T, 1, WIDTH) for _ in range(3)]
    before = module(a, b, *codes[:2])
    after = module(a, b, codes[0], codes[2])
    assert changed(before[0], after[0])[:, 1:].all()
    assert changed(before[1], after[1])[:, 2:].all()
    assert not changed(before[0], after[0])[:, :1].any()


def test_timestamps_without_an_encoder_say_what_to_add():
    with pytest.raises(ValueError, match='time_encoders'):
        link(position='timestamp')(*pair())
