# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checking cached files against their hashes, from the first byte on."""

from typing import NamedTuple

from .cache import Cache, Found, default_home
from .catalogue import Entry, entries, find


class Verdict(NamedTuple):
    """What a check found: ``problem`` is None for a good file."""

    name: str
    found: Found | None
    problem: str | None


def verify(*names: str) -> list[Verdict]:
    """Hash cached files anew and compare them with what they must be.

    Args:
        names: Entries to check; each must be there.  Without names,
            whatever is in the cache folder.

    Returns:
        A verdict for each file, and for each named entry that has none.

    Raises:
        ValueError: If the zoo has no entry of a name.
        ZooError: If the record of hashes in the cache folder is damaged.
    """
    cache = Cache(default_home())
    if not names:
        return [v for e in entries() for v in verify_entry(e, cache)]
    verdicts: list[Verdict] = []
    for entry in map(find, names):
        found = verify_entry(entry, cache)
        verdicts += found or [Verdict(entry.name, None, 'not in the cache')]
    return verdicts


def verify_entry(entry: Entry, cache: Cache) -> list[Verdict]:
    """Check every cached file of an entry; none gives an empty list."""
    verdicts: list[Verdict] = []
    for source in entry.sources:
        place = cache.place(entry, source)
        if place.is_file():
            cache.hashes.rehash(place)
            problem = cache.misfit(entry, source, place)
            verdicts.append(Verdict(entry.name, Found(place, source), problem))
    if not verdicts and (found := cache.locate(entry)):
        # Put there by hand under another name: its remembered hash says so.
        digest = cache.hashes.rehash(found.path)
        good = cache.locate(entry) == found
        problem = None if good else f'sha256 {digest} now, it was changed'
        verdicts.append(Verdict(entry.name, found, problem))
    return verdicts
