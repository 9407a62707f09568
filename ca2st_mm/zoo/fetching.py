# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Getting the weights of an entry: from the cache, else from its sources."""

import hashlib
import logging
import os
import re
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock, Timeout

from .addresses import file_name, resolve
from .cache import Cache, default_home
from .catalogue import SCHEME, UNKNOWN, Entry, Source, find
from .download import discard, download
from .errors import DownloadError, ZooError

logger = logging.getLogger(__name__)
HASH_IN_NAME = re.compile(r'-([0-9a-f]{8,64})\.')
NO_ADDRESS = 'no direct address known'


HUB_SCHEME = 'hf://'


def is_known(address: str) -> bool:
    return address.startswith((SCHEME, HUB_SCHEME, 'http://', 'https://'))


def fetch(name: str, offline: bool = False) -> Path:
    """Return a file with the weights of an entry, downloaded if need be.

    Args:
        name: Name of the entry.
        offline: Use the cache folder only; ``CA2ST_MM_OFFLINE=1`` does the
            same.

    Raises:
        ValueError: If the zoo has no such entry.
        ZooError: If there are no weights, no source gives a good file, or it
            cannot be kept; the message lists the sources tried and says what
            to do by hand.
    """
    if is_known(name) and not name.startswith(SCHEME):
        return fetch_address(name, offline)
    entry, cache = find(name), Cache(default_home())
    return fetch_entry(entry, cache, offline or _is_offline())


def fetch_address(address: str, offline: bool = False) -> Path:
    """Return the file behind an address that is no entry of the zoo.

    Args:
        address: ``https://...`` or ``hf://owner/name/file``; eight or more
            hex digits that end the file's name are its sha256, as OpenMMLab
            names files, and are checked.
        offline: As for :func:`fetch`.

    Raises:
        ValueError: If it is no such address.
        ZooError: If the file cannot be had.
    """
    file = file_name(address)
    in_name = HASH_IN_NAME.search(file)
    source = Source(
        address=address,
        file=file,
        layout=UNKNOWN,
        file_format=UNKNOWN,
        sha256=in_name[1] if in_name else None,
        size=None,
        how='',
        checked='never',
    )
    # Files of one name from two places must not meet in one folder.
    place = hashlib.sha256(address.encode()).hexdigest()[:12]
    entry = Entry(f'web-{place}', 'weights', None, None, (source,), ())
    return fetch_entry(entry, Cache(default_home()), offline or _is_offline())


def path(name: str) -> Path | None:
    """Return the cached file of an entry, None if there is no good one.

    Raises:
        ValueError: If the zoo has no such entry.
        ZooError: If the record of hashes in the cache folder is damaged.
    """
    found = Cache(default_home()).locate(find(name))
    return found.path if found else None


def fetch_entry(entry: Entry, cache: Cache, offline: bool) -> Path:
    """Do the work of :func:`fetch`; of several processes one downloads.

    Args:
        entry: Whose weights.
        cache: Where to look and where to keep them.
        offline: True to look only.

    Raises:
        ZooError: As :func:`fetch`.
    """
    if not entry.sources:
        raise ZooError(
            f'No weights of {entry.name} are released; train it with '
            f'{entry.config}'
        )
    if found := cache.locate(entry):
        return found.path
    if offline:
        states = [_misfit(entry, s, cache) for s in entry.sources]
        raise _failure(entry, cache, 'while offline', states)
    folder = cache.home / entry.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder, entry.name):
            # Another process may have been quicker.
            if found := cache.locate(entry):
                return found.path
            return _first_good(entry, cache)
    except OSError as error:
        raise ZooError(
            f'Cannot write the weights of {entry.name} to {folder}: '
            f'{error.strerror or error}; make room or rights there, or name '
            'another folder with CA2ST_MM_HOME'
        ) from error


def by_hand(entry: Entry, cache: Cache) -> str:
    """Say where a person finds the file and where to put it."""
    hows = [s for s in entry.sources if s.address is None]
    if len(hows) < len(entry.sources):
        return (
            'download one of these files by hand and put it into '
            f'{cache.home / entry.name} under its own name'
        )
    return ' or '.join(
        f'{source.how}, and save it as {cache.place(entry, source)}'
        for source in hows
    )


def _first_good(entry: Entry, cache: Cache) -> Path:
    states: list[str] = []
    for source in entry.sources:
        if source.address is None:
            states.append(NO_ADDRESS)
            continue
        try:
            return _fetch_source(entry, source, cache)
        except DownloadError as error:
            states.append(str(error))
            logger.info('%s: %s', source.address, error)
    raise _failure(entry, cache, '', states)


def _fetch_source(entry: Entry, source: Source, cache: Cache) -> Path:
    place = cache.place(entry, source)
    if place.exists():
        problem = cache.misfit(entry, source, place)
        logger.warning('%s is fetched again: %s', place, problem)
    logger.info('%s: fetching %s', entry.name, source.address)
    part = place.with_name(place.name + '.part')
    announced = download(source.address, part, entry.name)
    problem = cache.admit(entry, source, part, announced)
    discard(part)
    if problem:
        raise DownloadError(f'a damaged or changed file, {problem}')
    return place


def _lock(folder: Path, name: str) -> AbstractContextManager:
    """Lock an entry against other processes; a dead one holds no lock."""
    lock = FileLock(folder / 'fetch.lock')
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        logger.info('%s: another process fetches it, waiting', name)
        return lock.acquire()


def _misfit(entry: Entry, source: Source, cache: Cache) -> str:
    place = cache.place(entry, source)
    if not place.is_file():
        return 'not in the cache'
    return f'{place} is not it: {cache.misfit(entry, source, place)}'


def _failure(
    entry: Entry, cache: Cache, when: str, states: list[str]
) -> ZooError:
    tried = ', '.join(
        f'{_show(source)} ({state})'
        for source, state in zip(entry.sources, states, strict=True)
    )
    return ZooError(
        f'Cannot get the weights of {entry.name} {when}'.rstrip()
        + f', tried: {tried}; {by_hand(entry, cache)}'
    )


def _show(source: Source) -> str:
    """What a person can open in a browser, or look for."""
    return resolve(source.address).url if source.address else source.file


def _is_offline() -> bool:
    value = os.environ.get('CA2ST_MM_OFFLINE', '').lower()
    return value not in ('', '0', 'false', 'no')
