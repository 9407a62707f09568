# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What is known about the files of the cache folder: their hashes.

Hashing a gigabyte takes seconds, so a hash is remembered with the size and
the time of change of its file, and counts as long as both stay.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

from filelock import FileLock

from ca2st_mm.utils.hashing import sha256_of

from .errors import ZooError

logger = logging.getLogger(__name__)


class HashIndex:
    """Remembered hashes, in ``index.json`` of the cache folder.

    ``files`` holds the hash of each file by its path.  ``trusted`` holds, for
    a source whose hash nobody has published, the one that came first: what
    comes later must equal it.

    Args:
        home: The cache folder.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / 'index.json'

    def sha256(self, path: Path) -> str:
        """Return the hash of a file of the folder, remembered if it can be.

        Raises:
            ZooError: If the index is damaged.
        """
        known = self._read()['files'].get(self._key(path))
        if known and known['state'] == _state(path):
            return known['sha256']
        return self.rehash(path)

    def rehash(self, path: Path) -> str:
        """Hash a file of the folder anew and remember the result."""
        # The state comes first: a change while hashing must not be missed.
        state = _state(path)
        digest = sha256_of(path)
        self._write('files', self._key(path), _record(state, digest))
        return digest

    def remember(self, path: Path, digest: str) -> None:
        """Remember the hash of a file that was hashed on its way here."""
        self._write('files', self._key(path), _record(_state(path), digest))

    def trusted(self, key: str) -> str | None:
        """Return the hash that a source had first, None at the first time.

        Raises:
            ZooError: If the index is damaged.
        """
        return self._read()['trusted'].get(key)

    def trust(self, key: str, digest: str) -> None:
        """Take this hash for the right one of a source from now on."""
        logger.warning(
            'the sha256 of %s is not published in full: its first file, '
            '%s, is trusted from now on (recorded in %s)',
            key,
            digest,
            self.path,
        )
        self._write('trusted', key, digest)

    def _key(self, path: Path) -> str:
        return path.relative_to(self.home).as_posix()

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            tables = json.loads(self.path.read_text())
            return dict(files=tables['files'], trusted=tables['trusted'])
        except FileNotFoundError:
            return dict(files={}, trusted={})
        except (ValueError, KeyError, TypeError) as error:
            raise ZooError(
                f'{self.path} is damaged ({error}); delete it, and the files '
                'are hashed again'
            ) from error

    def _write(self, table: str, key: str, value: Any) -> None:
        try:
            with FileLock(self.home / 'index.lock'):
                tables = self._read()
                tables[table][key] = value
                fresh = self.path.with_name('index.json.part')
                fresh.write_text(json.dumps(tables, indent=1, sort_keys=True))
                os.replace(fresh, self.path)
        except OSError as error:
            # A shared folder may be read-only: slower, but not wrong.
            logger.warning(
                'cannot remember the sha256 of %s in %s (%s), so it is '
                'computed again each time',
                key,
                self.path,
                error.strerror,
            )


def _state(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _record(state: list[int], digest: str) -> dict[str, Any]:
    return dict(state=state, sha256=digest)
