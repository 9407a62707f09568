# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, CAVA and CA2ST as components for MMAction2.

Importing this package fixes the known faults of the packages below us
(:mod:`ca2st_mm.compat`) and registers every component.
"""

from ca2st_mm import compat

compat.apply()

from ca2st_mm import apis, datasets, engine, evaluation, models  # noqa: E402
from ca2st_mm.apis import (  # noqa: E402
    Recognizer,
    VideoAndAudio,
    get_config,
    get_model,
    list_models,
)
from ca2st_mm.version import __version__  # noqa: E402

__all__ = [
    'Recognizer',
    'VideoAndAudio',
    '__version__',
    'apis',
    'datasets',
    'engine',
    'evaluation',
    'get_config',
    'get_model',
    'list_models',
    'models',
]
