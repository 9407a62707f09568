# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Less memory, the same numbers."""

import pytest
import tiny_models as tiny
import torch
from torch.autograd.graph import saved_tensors_hooks

TIMED = dict(
    tiny.CA2ST,
    links=[
        dict(tiny.SPACE_TIME, drop_path_rate=0.5),
        dict(tiny.SPACE_AUDIO, position='timestamp', start_layer=1),
        dict(tiny.TIME_AUDIO, position='timestamp', start_layer=1),
    ],
    share_bottlenecks=True,
    time_encoders=dict(imgs=dict(embed_dims=8), audios=dict(embed_dims=8)),
)
INPUTS = {**tiny.streams(), **tiny.times()}


def loss_of(model):
    torch.manual_seed(3)  # of the drop paths
    return sum(f.float().square().sum() for f in model(**INPUTS).values())


def saved(model):
    """What autograd keeps between forward and backward, besides weights."""
    own = {p.data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loss_of(model)
    return loss, sum(kept.values())


@pytest.mark.parametrize('exchange', ['sequential', 'additive'])
def test_recomputing_changes_the_memory_only(exchange):
    plain = tiny.build(TIMED, exchange=exchange)
    tiny.randomize(plain, std=0.2).train()
    lean = tiny.build(TIMED, exchange=exchange, activations='recompute')
    lean.load_state_dict(plain.state_dict(), strict=True)
    lean.train()
    expected, much = saved(plain)
    found, little = saved(lean)
    assert torch.equal(found, expected)
    # Inputs of the blocks and links remain.
    assert little < 0.4 * much
    expected.backward()
    found.backward()
    others = dict(lean.named_parameters())
    for name, parameter in plain.named_parameters():
        grad = others[name].grad
        if parameter.grad is None:
            assert grad is None, name
        else:
            assert torch.equal(grad, parameter.grad), name


def bytes_of(model):
    return sum(p.numel() * p.element_size() for p in model.parameters())


def test_frozen_weights_in_half_precision_change_nothing_under_autocast():
    plain = tiny.randomize(tiny.build(TIMED), std=0.2)
    lean = tiny.build(TIMED, frozen_dtype='bfloat16')
    lean.load_state_dict(plain.state_dict(), strict=True)
    losses = []
    for model in (plain, lean):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            loss = loss_of(model)
        loss.backward()
        losses.append(loss)
    assert torch.equal(*losses)
    others = dict(lean.named_parameters())
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None:
            assert torch.equal(others[name].grad, parameter.grad), name
    halved = {n for n, p in lean.named_parameters() if p.dtype != torch.float}
    assert halved
    trained = {n for n, p in lean.named_parameters() if p.requires_grad}
    assert not halved & trained
    saving = sum(
        2 * p.numel() for n, p in lean.named_parameters() if n in halved
    )
    assert bytes_of(plain) - bytes_of(lean) == saving


def test_nothing_is_stored_for_the_gradient_of_frozen_weights():
    """A frozen linear layer keeps its weight, never its input."""
    expert = tiny.build(tiny.CLIP)
    block = expert.layers[1]['attention']
    tokens = torch.randn(2, 2, 5, tiny.DIMS, requires_grad=True)
    kept = []

    def pack(tensor):
        kept.append(tensor.data_ptr())
        return tensor

    handed = []
    block.attn.qkv.register_forward_pre_hook(
        lambda module, args: handed.append(args[0].data_ptr())
    )
    for frozen in (True, False):
        kept.clear(), handed.clear()
        block.attn.qkv.requires_grad_(not frozen)
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            out = block(tokens)
        assert (handed[0] in kept) is not frozen
        del out


@pytest.mark.parametrize('name', ['activations', 'frozen_dtype'])
def test_unknown_choices_are_named(name):
    with pytest.raises(ValueError, match=f'{name} must be one of'):
        tiny.build(tiny.CAST, **{name: 'half'})
