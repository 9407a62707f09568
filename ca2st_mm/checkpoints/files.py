# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Reading and writing checkpoint files; no code in a file ever runs."""

import argparse
import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ca2st_mm.utils.errors import UserError
from ca2st_mm.utils.files import written_whole
from ca2st_mm.zoo import IN_FOLDER, fault_of

SHARD = re.compile(r'(.+)-\d{5}-of-\d{5}(\.\w+)')
# Where training code keeps the weights, and what it puts before their names.
WRAPPERS = ('model', 'module', 'state_dict', 'model_state_dict')
PREFIXES = ('module.', 'model.', '_orig_mod.')


class CheckpointError(UserError, ValueError):
    """A checkpoint cannot be read, or is not one of the model."""


class UnsafeCheckpointError(CheckpointError):
    """Reading the file would mean running code that it names."""


class DamagedCheckpointError(CheckpointError):
    """The file is cut, or no checkpoint at all."""


def read_checkpoint(
    path: str | Path, map_location: Any = 'cpu'
) -> dict[str, Any]:
    """Read safetensors, what ``torch.save`` writes, or a TorchScript archive.

    Args:
        path: The file; the index of a sharded checkpoint
            (``*.index.json``), its parts next to it; or a folder with one of
            :data:`ca2st_mm.zoo.IN_FOLDER`.
        map_location: Device, as for ``torch.load``.

    Returns:
        What ``torch.save`` wrote, else a dict of ``state_dict`` and ``meta``,
        the text stored next to it.  ``meta`` has the ``classes`` that a
        ``config.json`` of transformers next to the file names.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeCheckpointError: If the file names code to run.
        DamagedCheckpointError: If the file is cut, no checkpoint, or one part
            of several.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        there = [path / name for name in IN_FOLDER if (path / name).is_file()]
        if not there:
            raise FileNotFoundError(
                f'the folder {str(path)!r} holds no weights: none of '
                f'{", ".join(IN_FOLDER)}'
            )
        path = there[0]
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint file {str(path)!r}')
    if match := SHARD.fullmatch(path.name):
        raise DamagedCheckpointError(
            f'{str(path)!r} is one part of a checkpoint; name '
            f'{match[1]}{match[2]}.index.json, with all parts next to it'
        )
    if path.name.endswith('.index.json'):
        found = dict(state_dict=_read_shards(path, map_location), meta={})
    else:
        found = _read_file(path, map_location)
    if names := _class_names(path.with_name('config.json')):
        found = found if 'state_dict' in found else dict(state_dict=found)
        classes = dict(classes=json.dumps(names))
        found['meta'] = classes | (found.get('meta') or {})
    return found


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
        metadata: Text entries stored next to them.

    Raises:
        ValueError: If the name ends otherwise.

    Example:
        >>> write_checkpoint('a.safetensors', {'weight': torch.zeros(2)})
        >>> read_checkpoint('a.safetensors')['state_dict']
        {'weight': tensor([0., 0.])}
    """
    meta = {str(key): str(value) for key, value in (metadata or {}).items()}
    with written_whole(path) as part:
        if part.suffix == '.safetensors':
            # It stores no shared memory, and no views.
            tensors = {
                key: value.detach().to('cpu', copy=True).contiguous()
                for key, value in state_dict.items()
            }
            # `format` is what transformers looks for.
            save_file(tensors, part, {'format': 'pt', **meta})
        elif part.suffix in ('.pth', '.pt'):
            torch.save(dict(meta=meta, state_dict=dict(state_dict)), part)
        else:
            raise ValueError(
                f'{Path(path).name!r} must end in .safetensors, .pth or .pt'
            )
        # safetensors leaves files that only their owner can read.
        part.chmod(0o644)


def unwrap(container: Mapping[str, Any]) -> dict[str, Tensor]:
    """Find the state dict in what a checkpoint file holds.

    It is the container itself, or stands in it at any depth under one of
    :data:`WRAPPERS` (the first that is there), or else under another name if
    that is the only state dict.  Prefixes that wrappers of a model put before
    every name are removed: ``module.``, ``model.`` and ``_orig_mod.``, the
    last also inside names.

    Raises:
        ValueError: If there is none, or several, or one holds something else
            than tensors.

    Example:
        >>> unwrap({'model': {'module.a': torch.zeros(1)}})
        {'a': tensor([0.])}
    """
    found, path = container, []
    while not _has_tensors(found):
        inner = [w for w in WRAPPERS if isinstance(found.get(w), Mapping)]
        inner = inner or [k for k, v in found.items() if _has_tensors(v)]
        where = f' under {".".join(path)!r}' if path else ''
        if not inner:
            entries = ', '.join(map(repr, list(found)[:5])) or 'none'
            raise ValueError(
                f'the file holds no state dict{where}, its entries are '
                f'{entries}'
            )
        if len(inner) > 1 and inner[0] not in WRAPPERS:
            raise ValueError(
                f'the file holds several state dicts{where}, '
                f'{", ".join(map(repr, inner))}; save the one to load alone'
            )
        path.append(str(inner[0]))
        found = found[inner[0]]
    for key, value in found.items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f'the state dict holds {key!r} of type '
                f'{type(value).__name__} among its tensors; take it out'
            )
    weights = {k.replace('._orig_mod.', '.'): v for k, v in found.items()}
    while prefix := next(
        (p for p in PREFIXES if all(k.startswith(p) for k in weights)), None
    ):
        weights = {k.removeprefix(prefix): v for k, v in weights.items()}
    return weights


def _has_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and any(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items()
    )


def check_sums(path: Path) -> None:
    """Compare a file of ``torch.save``, a zip, with its check sums.

    ``torch.load`` does not, and takes a flipped bit for a weight.

    Raises:
        DamagedCheckpointError: If one differs, or the file is cut.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.CRC:  # 0 if it was written without
                    with archive.open(entry) as file:
                        while file.read(2**20):
                            pass
    except Exception as error:  # a flipped byte can raise any
        raise _damaged(path, error) from error


def _class_names(config: Path) -> list[str] | None:
    """Names of the classes by a config of transformers, if it has any."""
    try:
        labels = json.loads(config.read_text())['id2label']
        names = [labels[str(i)] for i in range(len(labels))]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # Without names, transformers numbers them.
    return names if names and names[0] != 'LABEL_0' else None


def _read_shards(index: Path, map_location: Any) -> dict[str, Tensor]:
    """All parts that an index names; each gives what the index says."""
    try:
        shards = json.loads(index.read_text())['weight_map']
        parts = sorted(set(shards.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(index, error) from error
    tensors: dict[str, Tensor] = {}
    for part in parts:
        if Path(part).name != part or not index.with_name(part).is_file():
            raise DamagedCheckpointError(
                f'{str(index)!r} names {len(parts)} parts, of which {part!r} '
                'is missing in its folder; fetch the rest'
            )
        read = _read_file(index.with_name(part), map_location)
        tensors.update(read.get('state_dict', read))
    if lacking := [key for key in shards if key not in tensors]:
        raise DamagedCheckpointError(
            f'the parts of {str(index)!r} lack {len(lacking)} tensors, e.g. '
            f'{lacking[0]!r}; fetch them again'
        )
    return tensors


def _read_file(path: Path, map_location: Any) -> dict[str, Any]:
    """What one file holds; it is what it begins with, whatever its name."""
    head = b''
    try:
        with open(path, 'rb') as file:
            head = file.read(9)
        if head[8:] == b'{' or path.suffix == '.safetensors':
            device = str(map_location or 'cpu')
            with safe_open(path, framework='pt', device=device) as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}
                return dict(state_dict=tensors, meta=file.metadata() or {})
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                if any(name.endswith('/constants.pkl') for name in names):
                    return dict(state_dict=_read_torchscript(archive), meta={})
            check_sums(path)
        # Training code often stores its command line next to the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            loaded = torch.load(
                path, map_location=map_location, weights_only=True
            )
        if not isinstance(loaded, dict):
            raise ValueError(f'it holds a {type(loaded).__name__}')
        return loaded
    except DamagedCheckpointError:
        raise
    except Exception as error:  # a flipped byte can raise any
        # A fault of the machine is none of the file.
        if isinstance(error, (MemoryError, RuntimeError)) and any(
            word in str(error) for word in ('CUDA', 'device', 'memory')
        ):
            raise
        is_pickle = head[:1] == b'\x80' or head[:4] == b'PK\x03\x04'
        if is_pickle and isinstance(error, pickle.UnpicklingError):
            asked = re.search(r'GLOBAL ([\w.]+)', str(error))
            why = 'holds more than tensors and plain values'
            if asked:
                why = f'asks to run {asked[1]!r} while it is read'
            raise UnsafeCheckpointError(
                f'{str(path)!r} {why}, so it was not loaded; ask its author '
                'for a safetensors file'
            ) from error
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DamagedCheckpointError:
    why = fault_of(path)
    if why is None:
        why, lines = type(error).__name__, str(error).strip().splitlines()
        if lines and not lines[0].startswith('Weights only load failed'):
            why += f': {lines[0][:90]}'
    return DamagedCheckpointError(
        f'{str(path)!r} is damaged or no checkpoint ({why}); fetch it again'
    )


# TorchScript.  OpenAI publishes CLIP as such an archive: a zip with a program,
# a pickle of its objects and one raw file per storage.  `torch.jit.load` would
# run the program; all we want are the numbers.

_KINDS = 'Double Float Half BFloat16 Long Int Short Bool'.split()
STORAGES = {f'{kind}Storage': getattr(torch, kind.lower()) for kind in _KINDS}
STORAGES |= dict(CharStorage=torch.int8, ByteStorage=torch.uint8)


class _Scripted:
    """Stands for any object of the program; keeps its attributes only."""


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles tensors and plain containers; knows no other function."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f'{root}data.pkl'))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        """Only stand-ins come out of here, never what the pickle names."""
        if (module, name) == ('collections', 'OrderedDict'):
            return dict
        if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
            # Raises if the view reaches beyond the storage.
            return lambda storage, offset, size, stride, *_: (
                storage.as_strided(size, stride, offset).clone()
            )
        if name == '_rebuild_parameter' or module == 'torch.jit._pickle':
            return lambda value, *_: value
        if module == 'torch' and name in STORAGES:
            return STORAGES[name]
        if module.startswith('__torch__'):
            return type(name, (_Scripted,), {})
        raise pickle.UnpicklingError(f'GLOBAL {module}.{name}')

    def persistent_load(self, pid: Any) -> Tensor:
        """A storage as a flat tensor."""
        _, dtype, key, _, size = pid
        data = bytearray(self.archive.read(f'{self.root}data/{key}'))
        if not data:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(data, dtype=dtype, count=int(size))


def _read_torchscript(archive: zipfile.ZipFile) -> dict[str, Tensor]:
    """What ``torch.jit.load(path).state_dict()`` would return."""
    names = archive.namelist()
    pickled = next(name for name in names if name.endswith('/data.pkl'))
    root = pickled.removesuffix('data.pkl')

    def tensors(owner: _Scripted, prefix: str) -> Iterator:
        for name, value in vars(owner).items():
            if isinstance(value, Tensor):
                yield prefix + name, value
            elif isinstance(value, _Scripted):
                yield from tensors(value, f'{prefix}{name}.')

    return dict(tensors(_TensorUnpickler(archive, root).load(), ''))
