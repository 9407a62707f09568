# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checkpoints that are whole or not there, and the newest whole one."""

import os
import re
import zipfile
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

NUMBERED = re.compile(r'(?:epoch|iter)_(\d+)\.pth')


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """Local files that appear all at once.

    MMEngine writes a checkpoint in place, so that a run killed meanwhile
    leaves half of one under its final name.  Here it is written beside it
    and renamed when it lies on the disk.  For ``CheckpointHook``:
    ``backend_args=dict(backend='atomic')``.
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

    Args:
        work_dir: Folder with ``epoch_N.pth`` or ``iter_N.pth``; folders of
            these names, as DeepSpeed writes them, are not looked into.

    Returns:
        Its path, or None if there is none.
    """
    found = []
    for path in Path(work_dir).glob('*.pth'):
        if match := NUMBERED.fullmatch(path.name):
            number = int(match.group(1))
            found.append((path.stat().st_mtime, number, path))
    for _, _, path in sorted(found, reverse=True):
        if path.is_dir() or is_whole(path):
            return str(path)
    return None


def is_whole(path: str | Path) -> bool:
    """Whether every part of a file of ``torch.save`` has its check sum."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, EOFError):
        return False
