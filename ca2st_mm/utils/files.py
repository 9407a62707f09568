# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Files that appear all at once, and the hash of a file."""

import hashlib
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_swept: set[tuple[Path, int]] = set()


@contextmanager
def written_whole(path: str | Path, alone: bool = False) -> Iterator[Path]:
    """A name to write to, whose file becomes ``path`` only if all went well.

    What a killed process of this machine left in the folder is removed when
    a process first writes there.

    Args:
        path: The final name; its folder is made.
        alone: No other process, nor machine, writes this file meanwhile, so
            that what a killed one left is written over.

    Yields:
        A hidden name in the same folder with the same ending.

    Raises:
        OSError: If the file cannot be written; ``path`` is as it was.

    Example:
        >>> with written_whole('answers.json') as part:
        ...     written = part.write_text('[]')
        >>> Path('answers.json').read_text()
        '[]'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f'@{platform.node()}'  # as process ids are of a machine
    if (path.parent, os.getpid()) not in _swept:
        _swept.add((path.parent, os.getpid()))
        _remove_left_parts(path.parent, writer)
    mark = '' if alone else f'.{os.getpid()}{writer}'
    part = path.with_name(f'.{path.stem}{mark}.part{path.suffix}')
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _remove_left_parts(folder: Path, writer: str) -> None:
    """Remove parts whose process of this machine does not run any more."""
    form = re.compile(rf'\..*\.(\d+){re.escape(writer)}\.part(\.[^.]*)?')
    for name in os.listdir(folder):
        if match := form.fullmatch(name):
            try:
                os.kill(int(match[1]), 0)
            except ProcessLookupError:
                (folder / name).unlink(missing_ok=True)
            except PermissionError:  # of another user, who runs
                pass


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
