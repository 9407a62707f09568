# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The cache folder: where files lie, and which of them an entry can use."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ca2st_mm.utils.hashing import sha256_of

from .addresses import RESERVED
from .catalogue import Entry, Source
from .hash_index import HashIndex

DEFAULT_HOME = '~/.cache/ca2st_mm/weights'
COMPLETE = 64
"""Hex digits of a whole sha256."""


class Found(NamedTuple):
    """A file with the weights of an entry, and the source it equals."""

    path: Path
    source: Source


def default_home() -> Path:
    """The cache folder: ``CA2ST_MM_HOME`` or one in the home folder."""
    home = os.environ.get('CA2ST_MM_HOME') or DEFAULT_HOME
    return Path(home).expanduser().absolute()


class Cache:
    """The files in a cache folder.

    Each source has a place of its own, ``home/ENTRY/FILE``.  A file put there
    by hand is taken if nothing is known that speaks against it; elsewhere
    in the folder, and under any name, it is recognised by its hash.

    Args:
        home: The folder; it need not exist.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.hashes = HashIndex(home)

    def place(self, entry: Entry, source: Source) -> Path:
        """Where the file of a source belongs."""
        return self.home / entry.name / source.file

    def locate(self, entry: Entry) -> Found | None:
        """Find a good file for an entry.

        Returns:
            The first source, best first, of which there is one; else None.

        Raises:
            ZooError: If the record of hashes is damaged.
        """
        for source in entry.sources:
            place = self.place(entry, source)
            if place.is_file() and self.misfit(entry, source, place) is None:
                return Found(place, source)
        for source in entry.sources:
            if source.sha256 is None:
                continue
            for path in self._files():
                if self._is_copy(source, path):
                    return Found(path, source)
        return None

    def misfit(self, entry: Entry, source: Source, path: Path) -> str | None:
        """Say why a file of the folder cannot be that of a source.

        Where only the beginning of a hash is published, or nothing at all,
        the first file that comes is trusted, and recorded.

        Returns:
            None if it fits, else what is wrong with it.

        Raises:
            ZooError: If the record of hashes is damaged.
        """
        digest = self.hashes.sha256(path)
        expected = self._expected(entry, source)
        problem = _difference(source, path, digest, expected)
        if problem is None and len(expected) < COMPLETE:
            self.hashes.trust(_key(entry, source), digest)
        return problem

    def admit(
        self,
        entry: Entry,
        source: Source,
        part: Path,
        announced: str | None = None,
    ) -> str | None:
        """Take a downloaded file in, if it is the right one.

        Args:
            entry: Whose weights.
            source: Where the file comes from.
            part: The file; it moves to the place of the source.
            announced: The hash that the server gave.

        Returns:
            None if it was taken, else what is wrong with it.

        Raises:
            ZooError: If the record of hashes is damaged.
            OSError: If the file cannot be moved.
        """
        digest = sha256_of(part)
        expected = self._expected(entry, source)
        problem = _difference(source, part, digest, expected)
        if problem is None and announced not in (None, digest):
            problem = f'sha256 {digest} instead of {announced}'
        if problem is None:
            place = self.place(entry, source)
            os.replace(part, place)
            self.hashes.remember(place, digest)
            if len(expected) < COMPLETE:
                self.hashes.trust(_key(entry, source), digest)
        return problem

    def _expected(self, entry: Entry, source: Source) -> str:
        """The hash that a file must have, as many digits as are known."""
        published = source.sha256 or ''
        if len(published) == COMPLETE:
            return published
        return self.hashes.trusted(_key(entry, source)) or published

    def _is_copy(self, source: Source, path: Path) -> bool:
        if source.size not in (None, path.stat().st_size):
            return False
        return self.hashes.sha256(path).startswith(source.sha256)

    def _files(self) -> Iterator[Path]:
        for path in sorted(self.home.rglob('*')):
            own = path.name == self.hashes.path.name
            if path.is_file() and not own and not path.name.endswith(RESERVED):
                yield path


def _difference(
    source: Source, path: Path, digest: str, expected: str
) -> str | None:
    size = path.stat().st_size
    if size == 0 or source.size not in (None, size):
        return f'{size} bytes instead of {source.size or "some"}'
    if not digest.startswith(expected):
        return f'sha256 {digest} instead of {expected}'
    return None


def _key(entry: Entry, source: Source) -> str:
    return f'{entry.name}/{source.file}'
