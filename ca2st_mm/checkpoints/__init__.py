# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Reading, converting and loading checkpoints; nothing is lost silently."""

from .files import CheckpointError, read_checkpoint, unwrap, write_checkpoint
from .layouts import LAYOUTS, detect_layout
from .loading import (
    load_classifier,
    load_expert,
    load_weights,
    open_checkpoint,
)
from .reference import to_reference

__all__ = [
    'CheckpointError',
    'LAYOUTS',
    'detect_layout',
    'load_classifier',
    'load_expert',
    'load_weights',
    'open_checkpoint',
    'read_checkpoint',
    'to_reference',
    'unwrap',
    'write_checkpoint',
]
