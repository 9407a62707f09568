# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Pure conversions of checkpoints: a table, a function, a loud error."""

from .reference import (
    Conversion,
    Layout,
    detect_layout,
    from_reference,
    to_reference,
)
from .renaming import RenameTable, Rule

__all__ = [
    'Conversion',
    'Layout',
    'RenameTable',
    'Rule',
    'detect_layout',
    'from_reference',
    'to_reference',
]
