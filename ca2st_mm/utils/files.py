# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Files that appear all at once, and the hash of a file."""

import hashlib
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LEFT = re.compile(r'\..*\.[0-9a-f]{8}\.part(\.[^.]*)?')
_swept: set[Path] = set()


@contextmanager
def written_whole(path: str | Path, alone: bool = False) -> Iterator[Path]:
    """A name to write to, whose file becomes ``path`` only if all went well.

    When a process first writes to a folder, it removes what killed ones left
    there more than a day ago.

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
    if path.parent not in _swept:
        _swept.add(path.parent)
        with suppress(OSError):  # of somebody else, or removed meanwhile
            for other in path.parent.iterdir():
                if LEFT.fullmatch(other.name):
                    if other.stat().st_mtime < time.time() - 86400:
                        other.unlink()
    mark = '' if alone else f'.{secrets.token_hex(4)}'
    part = path.with_name(f'.{path.stem}{mark}.part{path.suffix}')
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
