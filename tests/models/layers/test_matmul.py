# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Products are the same, whichever library multiplies."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

from ca2st_mm.models.layers import matmul
from ca2st_mm.models.layers.init import linear

SHAPES = [(7, 5), (2, 3, 4, 5), (1, 1, 5)]


@pytest.fixture
def convolve(monkeypatch):
    """Every float32 product goes to oneDNN, on any processor."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip('this PyTorch is built without oneDNN')
    monkeypatch.setattr(matmul, 'mkl_is_slow', lambda: True)
    monkeypatch.setattr(matmul, 'SMALLEST_PRODUCT', 0)
    monkeypatch.setattr(matmul, 'SMALLEST_INPUT', 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def layer_and_input(shape):
    torch.manual_seed(0)
    layer = linear(5, 6)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer, torch.randn(shape, requires_grad=True)


@pytest.mark.parametrize('shape', SHAPES)
def test_values_and_gradients_are_those_of_a_linear_layer(convolve, shape):
    layer, x = layer_and_input(shape)
    wanted = F.linear(x, layer.weight, layer.bias)
    inputs = (x, layer.weight, layer.bias)
    weights = torch.randn_like(wanted)
    expected = torch.autograd.grad((wanted * weights).sum(), inputs)
    found = layer(x)
    assert type(found.grad_fn).__name__ == '_LinearBackward'
    torch.testing.assert_close(found, wanted)
    for a, b in zip(
        torch.autograd.grad((found * weights).sum(), inputs),
        expected,
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), wanted)


def test_tokens_may_lie_in_memory_in_any_order(convolve):
    layer, x = layer_and_input((4, 3, 5))
    turned = x.detach().transpose(0, 1)
    torch.testing.assert_close(
        layer(turned), F.linear(turned, layer.weight, layer.bias)
    )
    columns = torch.randn(5, 9).t()
    torch.testing.assert_close(
        layer(columns), F.linear(columns, layer.weight, layer.bias)
    )


@pytest.mark.parametrize('grad', [True, False])
def test_a_convolution_does_the_work(convolve, grad):
    layer, x = layer_and_input((9000, 5))
    with (
        torch.set_grad_enabled(grad),
        profile(activities=[ProfilerActivity.CPU]) as prof,
    ):
        layer(x)
    names = {event.key for event in prof.key_averages()}
    assert 'aten::mkldnn_convolution' in names
    assert 'aten::addmm' not in names


def test_frozen_weights_keep_no_input(convolve):
    layer, x = layer_and_input((100, 5))
    layer.requires_grad_(False)
    kept = []

    def pack(tensor):
        kept.append(tensor.data_ptr())
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        out = layer(x)
    assert kept == [layer.weight.data_ptr()]
    out.sum().backward()
    assert x.grad is not None and layer.weight.grad is None


def test_other_numbers_stay_with_the_usual_library(convolve):
    layer, x = layer_and_input((7, 5))
    assert matmul.prefers_convolution(x, layer.weight)
    assert not matmul.prefers_convolution(x.double(), layer.weight.double())
    assert not matmul.prefers_convolution(x, layer.weight.bfloat16())
    assert not matmul.prefers_convolution(x.to('meta'), layer.weight)
    with torch.autocast('cpu', torch.bfloat16):
        assert not matmul.prefers_convolution(x, layer.weight)
        assert layer(x).dtype == torch.bfloat16
    with torch.backends.mkldnn.flags(enabled=False):
        assert not matmul.prefers_convolution(x, layer.weight)
    torch.set_num_threads(1)
    assert not matmul.prefers_convolution(x, layer.weight)


def test_small_products_and_other_processors_stay_too(convolve, monkeypatch):
    layer, x = layer_and_input((7, 5))
    assert matmul.prefers_convolution(x, layer.weight)
    monkeypatch.setattr(matmul, 'SMALLEST_PRODUCT', 7 * 5 * 6 + 1)
    assert not matmul.prefers_convolution(x, layer.weight)
    monkeypatch.setattr(matmul, 'SMALLEST_PRODUCT', 7 * 5 * 6)
    assert matmul.prefers_convolution(x, layer.weight)
    monkeypatch.setattr(matmul, 'SMALLEST_INPUT', 7 * 5)
    assert not matmul.prefers_convolution(x, layer.weight)
    monkeypatch.setattr(matmul, 'SMALLEST_INPUT', 0)
    monkeypatch.setattr(matmul, 'mkl_is_slow', lambda: False)
    assert not matmul.prefers_convolution(x, layer.weight)


@pytest.mark.parametrize(
    ('capability', 'mkl', 'maker', 'slow'),
    [
        ('AVX512', True, 'AuthenticAMD', True),
        ('AVX512', True, 'GenuineIntel', False),
        ('AVX512', False, 'AuthenticAMD', False),
        ('AVX2', True, 'AuthenticAMD', False),
    ],
)
def test_which_processors_and_builds(
    monkeypatch, tmp_path, capability, mkl, maker, slow
):
    backends = torch.backends
    monkeypatch.setattr(backends.cpu, 'get_cpu_capability', lambda: capability)
    monkeypatch.setattr(backends.mkl, 'is_available', lambda: mkl)
    cpuinfo = tmp_path / 'cpuinfo'
    cpuinfo.write_text(f'vendor_id : {maker}\n')
    monkeypatch.setattr(matmul, 'CPUINFO', cpuinfo)
    assert matmul.mkl_is_slow.__wrapped__() is slow
    monkeypatch.setattr(matmul, 'CPUINFO', tmp_path / 'absent')
    assert matmul.mkl_is_slow.__wrapped__() is False
