# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Tokens times weights, by the faster of the libraries in PyTorch.

On a CPU ``F.linear`` multiplies by MKL, which on processors of AMD stays far
behind oneDNN, the library of PyTorch's convolutions (docs/benchmarks.md has
our measurements).  A linear layer is a convolution of size one, so that large
float32 products go there.  (Gradients of the input stay with MKL, which is no
slower at them within a model.)  ``torch.backends.mkldnn.flags(enabled=False)``
goes back to MKL, and so does any other processor or build.
"""

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

# Multiply-accumulates below which a convolution costs as much to call as it
# saves.
SMALLEST_PRODUCT = 2**25
# PyTorch itself keeps smaller inputs, and all with one thread, from oneDNN.
SMALLEST_INPUT = 20480
CPUINFO = Path('/proc/cpuinfo')


@cache
def mkl_is_slow() -> bool:
    """Whether this is an AMD processor with AVX-512, and PyTorch uses MKL."""
    if torch.backends.cpu.get_cpu_capability() != 'AVX512':
        return False
    if not torch.backends.mkl.is_available():
        return False
    return CPUINFO.exists() and 'AuthenticAMD' in CPUINFO.read_text()


def prefers_convolution(x: Tensor, weight: Tensor) -> bool:
    """Whether to multiply by oneDNN instead of MKL."""
    return (
        not torch.compiler.is_compiling()
        and x.device.type == 'cpu'
        and x.dtype == weight.dtype == torch.float32
        and x.numel() > SMALLEST_INPUT
        and x.shape[:-1].numel() * weight.numel() >= SMALLEST_PRODUCT
        and torch.get_num_threads() > 1
        and torch.backends.mkldnn.enabled
        and mkl_is_slow()
        and not torch.is_autocast_enabled('cpu')
    )


def _pixels(x: Tensor) -> Tensor:
    """(..., C) -> one image (1, C, rows, 1), channels last in memory."""
    return x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)


def _tokens(pixels: Tensor, like: Tensor) -> Tensor:
    """(1, C, rows, 1) -> (..., C)."""
    return pixels.permute(0, 2, 3, 1).reshape(*like.shape[:-1], -1)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias`` as a convolution of size one."""
    return _tokens(F.conv2d(_pixels(x), weight[..., None, None], bias), x)


def times_weight(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias``: (..., C) -> (..., D), weight (D, C)."""
    multiply = convolve if prefers_convolution(x, weight) else F.linear
    return multiply(x, weight, bias)
