# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Which reader opens a file."""

import importlib
import importlib.metadata
from functools import cache

from mmengine.logging import print_log

from .base import Source, VideoReader
from .frame_index import Span
from .pyav_reader import PyAVReader

# In the order of preference of 'auto'.
_CLASSES = dict(
    decord='DecordReader', torchcodec='TorchCodecReader', pyav='PyAVReader'
)
_PACKAGES = dict(decord='decord', torchcodec='torchcodec', pyav='av')
NAMES = (*_CLASSES, 'auto')


@cache
def choose_reader(name: str) -> type[VideoReader]:
    """The class of a reader; says in the log once which one it is.

    Args:
        name: ``'decord'``, ``'pyav'``, ``'torchcodec'``, or ``'auto'``: the
            first of decord, torchcodec, PyAV that can be imported.

    Raises:
        ValueError: If the name is unknown.
        ImportError: If the package of the named reader is not usable.
    """
    if name not in NAMES:
        raise ValueError(f'reader is one of {NAMES}, not {name!r}.')
    if name == 'auto':
        name = next(n for n in _CLASSES if _import(n) is None)
    fault = _import(name)
    if fault is not None:
        raise ImportError(
            f"reader='{name}' cannot be used ({fault}): run "
            f"'pip install {_PACKAGES[name]}', or set reader='pyav'."
        ) from fault
    version = importlib.metadata.version(_PACKAGES[name])
    print_log(
        f'Videos are read by {name} {version}; clips out of longer files, '
        f'avi and edited files by pyav {importlib.metadata.version("av")}.',
        logger='current',
    )
    return getattr(_module(name), _CLASSES[name])


def open_video(
    source: Source,
    reader: type[VideoReader],
    num_threads: int = 1,
    span: Span | None = None,
) -> VideoReader:
    """Open a file.

    Args:
        source: The file.
        reader: The class that reads whole files.
        num_threads: Threads of the decoder.
        span: First and last second of a clip; PyAV then opens that part
            alone, for it is the one that can index a part of a file.

    Raises:
        MediaError: If the file cannot be read; names it.
    """
    if span is None or span == (None, None):
        return reader.open(source, num_threads)
    return PyAVReader(source, num_threads, span)


def _module(name: str):
    return importlib.import_module(f'ca2st_mm.datasets.readers.{name}_reader')


def _import(name: str) -> Exception | None:
    """None if the reader can be imported, else why not."""
    try:
        _module(name)
    except (ImportError, OSError, RuntimeError) as fault:
        # torchcodec raises RuntimeError where FFmpeg's libraries are absent
        return fault
    return None
