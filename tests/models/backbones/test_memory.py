# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Less memory and one compiled graph, the same numbers."""

import pytest
import tiny_models as tiny
import torch
from mmengine.registry import init_default_scope
from torch._dynamo.testing import CompileCounter
from torch.autograd.graph import saved_tensors_hooks

TIMED = dict(
    tiny.TIMED,
    links=[
        dict(tiny.SPACE_TIME, drop_path_rate=0.5),
        *[dict(link, start_layer=1) for link in tiny.TIMED['links'][1:]],
    ],
    share_bottlenecks=True,
)
INPUTS = tiny.timed()
EXCHANGES = pytest.mark.parametrize('exchange', ['sequential', 'additive'])


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


def assert_same_gradients(model, other):
    others = dict(other.named_parameters())
    for name, parameter in model.named_parameters():
        grad = others[name].grad
        if parameter.grad is None:
            assert grad is None, name
        else:
            assert torch.equal(grad, parameter.grad), name


@EXCHANGES
def test_recomputing_changes_the_memory_only(exchange):
    plain = tiny.build(TIMED, exchange=exchange)
    tiny.randomize(plain, std=0.2).train()
    cheap = tiny.build(TIMED, exchange=exchange, activations='recompute')
    cheap.load_state_dict(plain.state_dict(), strict=True)
    cheap.train()
    expected, much = saved(plain)
    found, little = saved(cheap)
    assert torch.equal(found, expected)
    assert little < 0.4 * much  # inputs of the blocks and links remain
    expected.backward()
    found.backward()
    assert_same_gradients(plain, cheap)


def bytes_of(model):
    return sum(p.numel() * p.element_size() for p in model.parameters())


def test_frozen_weights_in_half_precision_change_nothing_under_autocast():
    plain = tiny.randomize(tiny.build(TIMED), std=0.2)
    cheap = tiny.build(TIMED, frozen_dtype='bfloat16')
    cheap.load_state_dict(plain.state_dict(), strict=True)
    losses = []
    for model in (plain, cheap):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            losses.append(loss_of(model))
        losses[-1].backward()
    assert torch.equal(*losses)
    assert_same_gradients(plain, cheap)
    halved = {
        n: p for n, p in cheap.named_parameters() if p.element_size() < 4
    }
    assert halved and not any(p.requires_grad for p in halved.values())
    with pytest.raises(ValueError, match='autocast.*--precision'):
        loss_of(cheap)
    saving = sum(2 * parameter.numel() for parameter in halved.values())
    assert bytes_of(plain) - bytes_of(cheap) == saving


def test_one_graph_of_the_whole_model_serves_every_batch_size():
    """With gradients; one layer has all there is to trace."""
    init_default_scope('mmaction')
    arch = dict(tiny.ARCH, num_layers=1)
    experts = {
        name: dict(expert, arch=arch)
        for name, expert in tiny.TIMED['experts'].items()
    }
    backbone = dict(tiny.TIMED, experts=experts, exchange='additive')
    model = tiny.recognizer(backbone)
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(
        model, fullgraph=True, dynamic=True, backend=counter
    )
    for batch in (7, 3, 11):  # no other size of the model
        present = torch.arange(batch) % 2
        views = tiny.views(batch, present.float())
        found, expected = (
            m(views, mode='tensor', stage='head') for m in (compiled, model)
        )
        torch.testing.assert_close(found, expected)
        found.sum().backward()
    assert counter.frame_count == 1
    assert all(
        p.grad is not None for p in model.parameters() if p.requires_grad
    )
