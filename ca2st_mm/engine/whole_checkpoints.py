# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checkpoints that are whole or not there, and the newest whole one."""

import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from torch import Tensor

from ca2st_mm.checkpoints.files import UnsafeCheckpointError, read_checkpoint

NUMBERED = re.compile(r'(?:epoch|iter)_(\d+)\.pth')


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """Local files that appear all at once.

    MMEngine writes a checkpoint in place, so that a run killed meanwhile
    leaves half of one under its final name.  Here it is written next to it
    and renamed when it lies on the disk.  For ``CheckpointHook``:
    ``backend_args=dict(backend='atomic')``.

    Example:
        >>> AtomicLocalBackend().put(b'all of it', 'epoch_1.pth')
        >>> Path('epoch_1.pth').read_bytes()
        b'all of it'
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; the file is the old or the new one at any moment."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f'{path.name}.part')
        with part.open('wb') as file:
            file.write(obj)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)


def last_whole_checkpoint(work_dir: str | Path) -> str | None:
    """The newest checkpoint in a work folder that can be read to its end.

    MMEngine's strategies (``FlexibleRunner``) write in place, past
    :class:`AtomicLocalBackend`, so that a kill can leave part of one.

    Args:
        work_dir: Folder with ``epoch_N.pth`` or ``iter_N.pth``: files, or
            folders as DeepSpeed and FSDP with local states write them.

    Returns:
        Its path, or None if there is none.
    """
    return next(_whole_checkpoints(work_dir), None)


def last_finite_checkpoint(work_dir: str | Path) -> str | None:
    """The newest whole checkpoint whose weights are all finite.

    A folder, or a file that names code to run, is not read: it counts if it
    is whole.

    Args:
        work_dir: As for :func:`last_whole_checkpoint`.

    Returns:
        Its path, or None if there is none.
    """
    for path in _whole_checkpoints(work_dir):
        try:
            if Path(path).is_dir() or is_finite(
                read_checkpoint(path).get('state_dict')
            ):
                return path
        except UnsafeCheckpointError:
            return path
    return None


def is_finite(value: Any) -> bool:
    """Whether all tensors in a value are finite.

    Args:
        value: A tensor, or mappings and sequences with some; what is none of
            these counts as finite.

    Example:
        >>> import torch
        >>> is_finite([torch.zeros(1), dict(a=torch.tensor(float('nan')))])
        False
    """
    if isinstance(value, Tensor):
        return bool(value.isfinite().all())
    if isinstance(value, Mapping):
        value = list(value.values())
    return not isinstance(value, (list, tuple)) or all(map(is_finite, value))


def _whole_checkpoints(work_dir: str | Path) -> Iterator[str]:
    """Checkpoints that can be read to their end, the newest first."""
    found = []
    for path in Path(work_dir).glob('*.pth'):
        if match := NUMBERED.fullmatch(path.name):
            found.append((path.stat().st_mtime, int(match[1]), path))
    for _, _, path in sorted(found, reverse=True):
        if is_whole_folder(path) if path.is_dir() else is_whole(path):
            yield str(path)


def is_whole(path: str | Path) -> bool:
    """Whether all of a file of ``torch.save`` is there, by its check sums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # a flipped byte can raise any, UnicodeDecodeError too
        return False


def is_whole_folder(path: Path) -> bool:
    """Whether a folder of several processes holds a finished checkpoint.

    Nothing in it tells how many files belong to it.  ``CheckpointHook``
    writes ``last_checkpoint`` next to it when the process of rank 0 is done,
    which with DeepSpeed is when all are.  So either that file is younger
    than all that the folder holds and names it, or a checkpoint begun later
    shows that the run went on.

    Args:
        path: ``epoch_N.pth`` or ``iter_N.pth``, a folder.

    Returns:
        False also if a file in it is broken, or if it holds none.
    """
    files = [p for p in path.rglob('*') if p.suffix in ('.pt', '.pth')]
    if not files:
        return False
    youngest = max(file.stat().st_mtime for file in files)
    mark = path.parent / 'last_checkpoint'
    is_marked = (
        mark.is_file()
        and mark.stat().st_mtime >= youngest
        and Path(mark.read_text().strip()).name == path.name
    )
    went_on = any(
        other.stat().st_mtime > youngest
        for other in path.parent.glob('*.pth')
        if other != path and NUMBERED.fullmatch(other.name)
    )
    return (is_marked or went_on) and all(map(is_whole, files))
