# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Pure conversions of checkpoints: a table, a function, a loud error."""

from .conversion import Conversion, RenameTable, Rule, Source
from .files import (
    CheckpointError,
    Unwrapped,
    read_checkpoint,
    unwrap,
    write_checkpoint,
)
from .loading import load_expert, load_weights, open_checkpoint
from .reference import (
    Layout,
    detect_layout,
    drop_audio_positions,
    from_reference,
    layout_of_ours,
    to_reference,
)
from .sources import OURS, SOURCES, detect_source

__all__ = [
    'CheckpointError',
    'Conversion',
    'Layout',
    'OURS',
    'RenameTable',
    'Rule',
    'SOURCES',
    'Source',
    'Unwrapped',
    'detect_layout',
    'detect_source',
    'drop_audio_positions',
    'from_reference',
    'layout_of_ours',
    'load_expert',
    'load_weights',
    'open_checkpoint',
    'read_checkpoint',
    'to_reference',
    'unwrap',
    'write_checkpoint',
]
