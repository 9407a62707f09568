# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Preparers: from the files of ten benchmarks to our manifests.

One file a benchmark says which forms its annotations come in, how many rows
and classes are published, and how a row becomes a :class:`Clip`;
:func:`prepare` does the rest.  Counts come from the benchmarks' authors.
"""

from . import command_line
from .annotations import Benchmark, Clip, Form
from .preparing import Request, prepare
from .registry import BENCHMARKS
from .source import BenchmarkError

__all__ = [
    'BENCHMARKS',
    'Benchmark',
    'BenchmarkError',
    'Clip',
    'Form',
    'Request',
    'command_line',
    'prepare',
]
