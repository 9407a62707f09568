# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Video readers behind one small interface."""

from ca2st_mm.datasets.readers.array_reader import ArrayReader
from ca2st_mm.datasets.readers.base import Source, VideoReader
from ca2st_mm.datasets.readers.choose import (
    NAMES,
    choose_reader,
    open_video,
)
from ca2st_mm.datasets.readers.frame_index import narrow
from ca2st_mm.datasets.readers.pyav_reader import PyAVReader

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
