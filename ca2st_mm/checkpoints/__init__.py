# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Reading, converting and loading checkpoints; nothing is lost silently."""

from .conversion import Conversion, Source
from .files import (
    CheckpointError,
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
    'SOURCES',
    'Source',
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
