# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The zoo: which weights there are, where they come from, and whose they are.

The metafiles below ``configs`` are the catalogue, ``listing.csv`` says what
each file must be.  Files are fetched by ``huggingface_hub``, ``pooch`` or
``gdown``, and checked before they are used.
"""

from .catalogue import (
    HUB_SCHEME,
    SCHEME,
    SUFFIXES,
    WEB_SCHEMES,
    Entry,
    Source,
    canonical,
    entries,
    find,
    is_known,
    is_repository,
)
from .fetching import (
    IN_FOLDER,
    ZooError,
    ask_hub,
    check,
    fetch,
    in_short,
    is_here,
    verify,
)

__all__ = [
    'HUB_SCHEME',
    'IN_FOLDER',
    'SCHEME',
    'SUFFIXES',
    'WEB_SCHEMES',
    'Entry',
    'Source',
    'ZooError',
    'ask_hub',
    'canonical',
    'check',
    'entries',
    'fetch',
    'find',
    'in_short',
    'is_here',
    'is_known',
    'is_repository',
    'verify',
]
