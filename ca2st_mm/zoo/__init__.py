# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The zoo: which weights there are, where they come from, and whose they are.

The metafiles below ``configs`` are the catalogue, ``listing.csv`` says what
each file must be.
"""

from .catalogue import (
    HUB_SCHEME,
    SCHEME,
    Entry,
    Source,
    canonical,
    entries,
    find,
    is_known,
)
from .fetching import (
    IN_FOLDER,
    ZooError,
    fault_of,
    fetch,
    in_short,
    kept,
)

__all__ = [
    'HUB_SCHEME',
    'IN_FOLDER',
    'SCHEME',
    'Entry',
    'Source',
    'ZooError',
    'canonical',
    'entries',
    'fault_of',
    'fetch',
    'find',
    'in_short',
    'is_known',
    'kept',
]
