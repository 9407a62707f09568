# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Preparers: from the files of ten benchmarks to our manifests."""

from .benchmark import (
    BENCHMARKS,
    CLASS_FOLDER,
    Benchmark,
    Clip,
    Form,
    LeftOut,
    class_names,
    shipped_names,
)
from .preparing import Request, prepare, read_list

__all__ = [
    'BENCHMARKS',
    'CLASS_FOLDER',
    'Benchmark',
    'Clip',
    'Form',
    'LeftOut',
    'Request',
    'class_names',
    'prepare',
    'read_list',
    'shipped_names',
]
