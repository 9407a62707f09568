# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Preparers: from the files of ten benchmarks to our manifests.

One file a benchmark says which forms its annotations come in, how many rows
and classes are published, and how a row becomes a :class:`Clip`;
:func:`prepare` does the rest.  Counts come from the benchmarks' authors.
"""

from ca2st_mm.datasets.benchmarks import command_line
from ca2st_mm.datasets.benchmarks.annotations import Benchmark, Clip, Form
from ca2st_mm.datasets.benchmarks.preparing import Request, prepare
from ca2st_mm.datasets.benchmarks.registry import BENCHMARKS
from ca2st_mm.datasets.benchmarks.source import BenchmarkError

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
