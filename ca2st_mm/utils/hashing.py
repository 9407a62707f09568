# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Fingerprints of weights."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def sha256_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors: names, types, shapes and values.

    Args:
        tensors: A state dict; its order does not matter, nor the device.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
