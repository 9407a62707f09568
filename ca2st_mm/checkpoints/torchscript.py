# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Tensors of a TorchScript archive, without running the program in it.

OpenAI publishes CLIP as such an archive: a zip with a program, a pickle of
its objects and one raw file per storage.  ``torch.jit.load`` would run the
program; all we want are the numbers.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

STORAGE_DTYPES = {
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
}


class ScriptedObject:
    """Stands for any object of the program; keeps its attributes only."""


def _rebuild_tensor(
    storage: Tensor, offset: int, size: tuple, stride: tuple, *_: Any
) -> Tensor:
    # Raises if the view reaches beyond the storage.
    return storage.as_strided(tuple(size), tuple(stride), offset).clone()


def _as_is(values: Any) -> Any:
    return values


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles tensors and plain containers; knows no other function.

    Args:
        file: The pickle.
        read_storage: Bytes of a storage by its key.
    """

    functions: dict[tuple[str, str], Callable] = {
        ('torch._utils', '_rebuild_tensor_v2'): _rebuild_tensor,
        ('torch._utils', '_rebuild_parameter'): lambda data, *_: data,
        ('collections', 'OrderedDict'): OrderedDict,
        ('torch.jit._pickle', 'build_intlist'): _as_is,
        ('torch.jit._pickle', 'build_doublelist'): _as_is,
        ('torch.jit._pickle', 'build_boollist'): _as_is,
        ('torch.jit._pickle', 'build_tensorlist'): _as_is,
    }

    def __init__(self, file: Any, read_storage: Callable) -> None:
        super().__init__(file)
        self.read_storage = read_storage

    def find_class(self, module: str, name: str) -> Any:
        """Only stand-ins come out of here, never what the pickle names."""
        if module.startswith('__torch__'):
            return type(name, (ScriptedObject,), {})
        if module == 'torch' and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        if (module, name) in self.functions:
            return self.functions[module, name]
        raise pickle.UnpicklingError(
            f'Unsupported global: GLOBAL {module}.{name}'
        )

    def persistent_load(self, pid: Any) -> Tensor:
        """A storage as a flat tensor."""
        kind, dtype, key, _, size = pid
        if kind != 'storage':
            raise pickle.UnpicklingError(f'unknown reference {kind!r}')
        data = bytearray(self.read_storage(str(key)))
        if not data:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(data, dtype=dtype, count=int(size))


def is_torchscript(path: str | Path) -> bool:
    """Whether the file is a zip archive with a TorchScript program."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(n.endswith('/constants.pkl') for n in archive.namelist())


def read_torchscript(path: str | Path) -> dict[str, Tensor]:
    """Parameters and buffers of the archived module by name.

    Args:
        path: An archive that ``torch.jit.save`` wrote.

    Returns:
        What ``torch.jit.load(path).state_dict()`` would return.

    Raises:
        pickle.UnpicklingError: If the archive asks for anything but tensors.
    """
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith('/data.pkl'))
        root = name.removesuffix('data.pkl')
        with archive.open(name) as file:
            module = _TensorUnpickler(
                file, lambda key: archive.read(f'{root}data/{key}')
            ).load()
    return dict(_tensors(module, ''))


def _tensors(owner: ScriptedObject, prefix: str) -> Iterator:
    for name, value in vars(owner).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, ScriptedObject):
            yield from _tensors(value, f'{prefix}{name}.')
