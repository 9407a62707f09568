# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Video readers behind one small interface."""

from .array_reader import ArrayReader
from .base import Source, VideoReader
from .choose import (
    NAMES,
    choose_reader,
    open_video,
)
from .frame_index import narrow
from .pyav_reader import PyAVReader

__all__ = [
    'NAMES',
    'ArrayReader',
    'PyAVReader',
    'Source',
    'VideoReader',
    'choose_reader',
    'narrow',
    'open_video',
]
