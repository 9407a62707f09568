# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Preparers: from the files of ten benchmarks to our manifests.

One file for each benchmark says which forms its annotations come in, how many
rows and classes are published, and how a row becomes a :class:`Clip`;
:func:`prepare` does the rest.  Counts come from the benchmarks' authors.
"""

from . import (
    activitynet,
    epic_kitchens_100,
    epic_sounds,
    hd_epic,
    hd_epic_sounds,
    kinetics400,
    kinetics_sound,
    something_something_v2,
    ucf101,
    vggsound,
)
from .benchmark import Benchmark, Clip, Form, class_names, shipped_names
from .command_line import main
from .label_files import BenchmarkError
from .preparing import Request, prepare

BENCHMARKS = {
    module.BENCHMARK.name: module.BENCHMARK
    for module in (
        activitynet,
        epic_kitchens_100,
        epic_sounds,
        hd_epic,
        hd_epic_sounds,
        kinetics400,
        kinetics_sound,
        something_something_v2,
        ucf101,
        vggsound,
    )
}

__all__ = [
    'BENCHMARKS',
    'Benchmark',
    'BenchmarkError',
    'Clip',
    'Form',
    'Request',
    'class_names',
    'main',
    'prepare',
    'shipped_names',
]
