# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checkpoint files: read safely, written in one step."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

SAFETENSORS = '.safetensors'


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read what a checkpoint file holds, without running code from it.

    Args:
        path: A file written by safetensors, or by torch.

    Returns:
        The container or state dict, tensors on the CPU.

    Raises:
        FileNotFoundError: If the file is not there.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'the checkpoint {str(path)!r} is not there')
    if path.suffix == SAFETENSORS:
        return load_file(path)
    return torch.load(path, map_location='cpu', weights_only=True)


def write_checkpoint(
    path: str | Path,
    state_dict: Mapping[str, Tensor],
    metadata: Mapping[str, str],
) -> None:
    """Write a state dict; a broken run leaves no half-written file.

    Args:
        path: Ends in '.safetensors', or in '.pth' for torch's own format.
        state_dict: Parameters by name.
        metadata: What to remember about them.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'{path.name}.partial')
    # Views and shared storage are written as tensors of their own.
    tensors = {k: v.contiguous().clone() for k, v in state_dict.items()}
    if path.suffix == SAFETENSORS:
        save_file(tensors, partial, dict(metadata))
    else:
        torch.save(dict(state_dict=tensors, meta=dict(metadata)), partial)
    os.replace(partial, path)
