# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checkpoints that are whole or not there, and the newest whole one."""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import print_log
from torch import Tensor

from ca2st_mm.checkpoints.files import (
    CheckpointError,
    UnsafeCheckpointError,
    check_sums,
    read_checkpoint,
)

# What a run ended by a signal leaves; the next one takes its place.
INTERRUPTED = 'interrupted.pth'
OF_A_RUN = re.compile(rf'(?:epoch|iter)_(\d+)\.pth|{INTERRUPTED}')


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """Local files that appear all at once.

    MMEngine writes a checkpoint in place, so that a run killed meanwhile, or
    a full disk, leaves half of one under its final name.  Here it is written
    next to it and renamed when it lies on the disk.  For ``CheckpointHook``:
    ``backend_args=dict(backend='atomic')``.

    Example:
        >>> AtomicLocalBackend().put(b'all of it', 'epoch_1.pth')
        >>> Path('epoch_1.pth').read_bytes()
        b'all of it'
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; the file is the old or the new one at any moment."""
        path = Path(filepath)
        part = path.with_name(f'{path.name}.part')
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open('wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            error.filename = str(path)  # a full disk names none
            raise


def write_checkpoints_whole() -> None:
    """Have MMEngine write every local checkpoint of this process so.

    For command lines of ours: its strategies take no ``backend_args``.
    """
    register_backend('local', AtomicLocalBackend, force=True, prefixes='')


def last_whole_checkpoint(
    work_dir: str | Path, finite: bool = False
) -> str | None:
    """The newest checkpoint in a work folder whose check sums are right.

    Newer ones that are cut or have changed are named in the log.

    Args:
        work_dir: Folder with ``epoch_N.pth``, ``iter_N.pth`` or
            ``interrupted.pth``.
        finite: Whether all its weights have to be finite.

    Returns:
        Its path, or None if there is none.
    """
    found = []
    for path in Path(work_dir).glob('*.pth'):
        if match := OF_A_RUN.fullmatch(path.name):
            found.append((path.stat().st_mtime, int(match[1] or 0), path))
    for _, _, path in sorted(found, reverse=True):
        try:
            check_sums(path)
            weights = read_checkpoint(path).get('state_dict') if finite else ()
            if is_finite(weights):
                return str(path)
        except UnsafeCheckpointError:  # not read: of somebody's own hook
            return str(path)
        except CheckpointError as error:
            print_log(f'{error}; it is passed over', logger='current')
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
