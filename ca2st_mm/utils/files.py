# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Files that appear all at once, and the hash of a file."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A name to write to, whose file becomes ``path`` only if all went well.

    Args:
        path: The final name; its folder is made.

    Yields:
        A hidden name in the same folder with the same ending.

    Example:
        >>> with written_whole('answers.json') as part:
        ...     written = part.write_text('[]')
        >>> Path('answers.json').read_text()
        '[]'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.stem}.{os.getpid()}.part{path.suffix}')
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
