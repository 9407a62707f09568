# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The zoo: which weights there are, where they come from, and whose they are.

The metafiles below ``configs`` are the catalogue; a file is fetched once,
checked against its hash and kept in the cache folder.
"""

from .catalogue import SCHEME, Entry, Source, entries, find
from .errors import ZooError
from .fetching import HUB_SCHEME, fetch, fetch_address, is_known, path
from .verifying import Verdict, verify

__all__ = [
    'HUB_SCHEME',
    'SCHEME',
    'Entry',
    'Source',
    'Verdict',
    'ZooError',
    'entries',
    'fetch',
    'fetch_address',
    'find',
    'is_known',
    'path',
    'verify',
]
