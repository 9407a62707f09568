# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Links that B-CA is compared with, and ways to read that ablations need."""

import pytest
import tiny_models as tiny
import torch
from mmaction.registry import MODELS
from torch.nn import functional as F

from ca2st_mm.models.layers import TokenSpec

T, N, HEADS = 3, 4, 2
SPECS = TokenSpec(8, T, N, 1), TokenSpec(8, T, N, 0)
KINDS = pytest.mark.parametrize('kind', tiny.OTHER_LINKS)


def link(kind, specs=SPECS, **changes):
    cfg = dict(tiny.OTHER_LINKS[kind], specs=specs, **changes)
    del cfg['between']
    return MODELS.build(cfg).eval()


def tokens(specs=SPECS):
    torch.manual_seed(0)
    return [
        torch.randn(2, s.num_steps, s.num_prefix_tokens + s.num_patches, 8)
        for s in specs
    ]


@KINDS
def test_a_new_link_changes_nothing(kind):
    a, b = tokens()
    for update, own in zip(link(kind)(a, b), (a, b), strict=True):
        assert update.shape == own.shape and not update.any()


@pytest.mark.parametrize('kind', ['lateral', 'cross', 'cross_adapter'])
def test_only_patches_read_and_are_read(kind):
    module, (a, b) = tiny.randomize(link(kind)), tokens()
    before = module(a, b)
    assert not before[0][:, :, :1].any() and before[0][:, :, 1:].all()
    a[:, :, :1] += 1
    tiny.assert_same(
        dict(enumerate(module(a, b))), dict(enumerate(before)), atol=0, rtol=0
    )


@KINDS
def test_one_direction_alone_is_that_of_both(kind):
    both, (a, b) = tiny.randomize(link(kind)), tokens()
    axes = tiny.OTHER_LINKS[kind]['axes']
    one = link(kind, axes=(axes[0], None))
    fits = {
        k: v for k, v in both.state_dict().items() if k in one.state_dict()
    }
    one.load_state_dict(fits)
    update, nothing = one(a, b)
    assert nothing is None
    torch.testing.assert_close(update, both(a, b)[0])


def test_a_lateral_link_adds_a_linear_map_of_the_same_patch():
    module, (a, b) = tiny.randomize(link('lateral')), tokens()
    linear = module.directions['a_from_b'].linear
    torch.testing.assert_close(module(a, b)[0][:, :, 1:], linear(b))
    wrong = SPECS[0], TokenSpec(8, 1, N)
    with pytest.raises(ValueError, match=r'\(3, 4\) and \(1, 4\)'):
        link('lateral', wrong)


def test_the_adapter_follows_the_attention():
    with_adapter, (a, b) = tiny.randomize(link('cross_adapter')), tokens()
    plain = link('cross')
    fits = {
        k: v
        for k, v in with_adapter.state_dict().items()
        if k in plain.state_dict()
    }
    plain.load_state_dict(fits)
    adapter = with_adapter.directions['a_from_b'].adapter
    read = adapter(plain(a, b)[0][:, :, 1:])
    torch.testing.assert_close(with_adapter(a, b)[0][:, :, 1:], read)
    narrow = SPECS[0], SPECS[1]._replace(embed_dims=4)
    with pytest.raises(ValueError, match='one width, got 8 and 4'):
        link('cross', narrow)


def test_without_exchange_an_expert_sees_itself_alone():
    module, (a, b) = tiny.randomize(link('identity')), tokens()
    before = module(a, b)
    assert before[0].any()
    after = module(a, b + 1)
    torch.testing.assert_close(after[0], before[0], atol=0, rtol=0)
    assert (after[1] != before[1]).any()
    with pytest.raises(ValueError, match="'self' or None, got 'time'"):
        link('identity', axes=('time', 'self'))


def test_frames_are_read_one_by_one():
    """The mean of as many calls, each with one frame of the context."""
    module = tiny.randomize(link('frames', position=None)).a_from_b
    query, context = torch.randn(2, 2, T, N, 4)  # the width of the bottleneck
    steps = [module(query, context[:, t : t + 1]) for t in range(T)]
    together = module(query, context)
    torch.testing.assert_close(together, sum(steps) / T)
    joint = link('frames', position=None, axes=('all', 'all')).a_from_b
    joint.load_state_dict(module.state_dict())
    assert tiny.difference(joint(query, context), together) > 1e-3
    torch.testing.assert_close(joint(query, context[:, :1]), steps[0])


@pytest.mark.parametrize('axis', ['time', 'space', 'all', 'frames'])
def test_masked_context_is_read_in_part(axis):
    cfg = dict(tiny.SPACE_TIME, specs=SPECS, axes=(axis, axis))
    del cfg['between']
    module = MODELS.build(dict(cfg, masked_context=(0.5, 0.0))).eval()
    a, b = tokens()
    lengths = []

    def attend(query, key, value):
        lengths.append((key.shape[2], query.shape[2]))
        return F.scaled_dot_product_attention(query, key, value)

    tiny.randomize(module)
    updates = [module(a, b, attend=(attend, attend)) for _ in range(5)]
    count = dict(time=T, space=N, frames=N, all=T * N)[axis]
    assert {key for key, _ in lengths} == {count // 2, count}
    # Drawn anew in every call; the other direction sees all.
    assert any((u[0] != updates[0][0]).any() for u in updates)
    assert all(torch.equal(u[1], updates[0][1]) for u in updates)
    with pytest.raises(ValueError, match=r'\[0, 1\), got 1.0'):
        MODELS.build(dict(cfg, masked_context=(0.0, 1.0)))


@pytest.mark.parametrize('name', ['spatial', 'temporal', 'audio'])
def test_extra_layers_are_new_trained_and_the_identity_at_first(
    name, tmp_path
):
    cfg = tiny.CA2ST['experts'][name]
    known = tiny.noisy(cfg)
    path = tmp_path / 'expert.pth'
    torch.save(dict(state_dict=known.state_dict()), path)
    init = dict(type='Pretrained', checkpoint=str(path))
    expert = tiny.build(cfg, extra_layers=2, init_cfg=init)
    expert.init_weights()
    assert expert.num_layers == tiny.DEPTH + 2
    inputs = tiny.input_of(cfg['type'])
    torch.testing.assert_close(expert(inputs), known(inputs))
    for parameter in expert.layers[-2:].parameters():
        assert parameter.requires_grad
