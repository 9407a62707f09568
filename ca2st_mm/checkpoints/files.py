# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Reading and writing checkpoint files; no code in a file ever runs."""

import argparse
import json
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .torchscript import is_torchscript, read_torchscript

# Tensors that share memory are stored once; this entry of the metadata, JSON,
# says which other names they have.
ALIASES = 'ca2st_mm.aliases'


# What the readers raise for a cut or foreign file.
_FAULTS = (SafetensorError, RuntimeError, EOFError, KeyError, OSError)


class UnsafeCheckpointError(ValueError):
    """Reading the file would mean running code that it names."""


class DamagedCheckpointError(ValueError):
    """The file is cut, or no checkpoint at all."""


def read_checkpoint(
    path: str | Path, map_location: Any = 'cpu'
) -> dict[str, Any]:
    """Read a checkpoint of any known format, never running code from it.

    Formats: safetensors, what ``torch.save`` writes (in the safe mode of
    ``torch.load``), TorchScript archives (tensors only).

    Args:
        path: The file.
        map_location: Device, as for ``torch.load``.

    Returns:
        What the file holds.  For safetensors and TorchScript a dict of
        ``state_dict`` and ``meta``, the text entries stored beside it.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeCheckpointError: If the file names code to run.
        DamagedCheckpointError: If the file is cut or no checkpoint.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint file {str(path)!r}')
    try:
        if is_safetensors(path):
            return _read_safetensors(path, map_location)
        if is_torchscript(path):
            return dict(state_dict=read_torchscript(path), meta={})
        # Training code often stores its command line beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            loaded = torch.load(
                path, map_location=map_location, weights_only=True
            )
        return _as_dict(loaded, path)
    except pickle.UnpicklingError as error:
        raise _explain_pickle(path, error) from error
    except _FAULTS as error:
        about_file = 'PytorchStreamReader' in str(error)
        if isinstance(error, RuntimeError) and not about_file:
            raise  # of the device, say, not of the file
        raise _damaged(path, error) from error


def write_checkpoint(
    path: str | Path,
    state_dict: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors and text; a file under this name is always whole.

    Args:
        path: Ends in ``.safetensors``, or in ``.pth`` or ``.pt`` for a dict
            of ``state_dict`` and ``meta``.
        state_dict: The tensors.
        metadata: Text entries stored beside them.

    Raises:
        ValueError: If the name ends otherwise.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = {str(key): str(value) for key, value in (metadata or {}).items()}
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        if path.suffix == '.safetensors':
            tensors, aliases = _without_aliases(state_dict)
            if aliases:
                meta[ALIASES] = json.dumps(aliases)
            # `format` is what transformers looks for.
            save_file(tensors, part, metadata={'format': 'pt', **meta})
        elif path.suffix in ('.pth', '.pt'):
            torch.save(dict(meta=meta, state_dict=dict(state_dict)), part)
        else:
            raise ValueError(
                f'{path.name!r} must end in .safetensors, .pth or .pt'
            )
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def is_safetensors(path: str | Path) -> bool:
    """Whether the file begins as a safetensors file, whatever its name."""
    with open(path, 'rb') as file:
        head = file.read(9)
    length = int.from_bytes(head[:8], 'little')
    fits = 0 < length <= os.path.getsize(path) - 8
    return head[8:] == b'{' and fits or Path(path).suffix == '.safetensors'


def _read_safetensors(path: Path, map_location: Any) -> dict[str, Any]:
    device = str(map_location or 'cpu')
    with safe_open(path, framework='pt', device=device) as file:
        meta = dict(file.metadata() or {})
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    for alias, name in json.loads(meta.pop(ALIASES, '{}')).items():
        tensors[alias] = tensors[name]
    return dict(state_dict=tensors, meta=meta)


def _without_aliases(
    state_dict: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors that share no memory, and further names of shared ones."""
    seen: dict[tuple, str] = {}
    tensors, aliases = {}, {}
    for key, value in state_dict.items():
        value = value.detach()
        place = (value.data_ptr(), value.dtype, value.shape, value.stride())
        if value.numel() and place in seen:
            aliases[key] = seen[place]
            continue
        seen[place] = key
        own = value.untyped_storage().nbytes() == value.nbytes
        # A view into something larger would drag all of it along.
        tensors[key] = (value if own else value.clone()).contiguous()
    return tensors, aliases


def _as_dict(loaded: Any, path: Path) -> dict[str, Any]:
    if not isinstance(loaded, dict):
        raise DamagedCheckpointError(
            f'{str(path)!r} holds a {type(loaded).__name__}, no checkpoint'
        )
    return loaded


def _explain_pickle(path: Path, error: Exception) -> ValueError:
    cure = 'so it was not loaded; ask its author for a safetensors file'
    if match := re.search(r'GLOBAL ([\w.]+)', str(error)):
        return UnsafeCheckpointError(
            f'{str(path)!r} asks to run {match[1]!r} while it is read, {cure}'
        )
    if match := re.search(r'WeightsUnpickler error:\s*(.+)', str(error)):
        return UnsafeCheckpointError(
            f'{str(path)!r} holds more than tensors and plain values '
            f'({match[1]}), {cure}'
        )
    return _damaged(path, error)


def _damaged(path: Path, error: Exception) -> DamagedCheckpointError:
    return DamagedCheckpointError(
        f'{str(path)!r} is damaged or no checkpoint '
        f'({_first_line(error)}); fetch it again'
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (
        f'{type(error).__name__}: {lines[0][:90]}'
        if lines
        else type(error).__name__
    )
