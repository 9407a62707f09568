# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Ten benchmarks: their lists, where our configs expect them, their classes.

``tools/data/prepare_benchmark.py`` writes their annotation files.
"""

import os.path as osp
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ca2st_mm.utils.class_names import read_class_names

CLASS_FOLDER = osp.join(osp.dirname(__file__), 'classes')


class Benchmark(NamedTuple):
    """One benchmark, as ``benchmarks.yml`` describes it.

    Attributes:
        name: As in ``tools/data/<name>``.
        title: As its authors write it.
        folder: Where our configs expect it below ``data/``.
        classes: Label column -> file of class names in ``classes/``.
        lists: Split -> file names to look for, best first.
        forms: Known forms of lists, tried in this order: the arguments of
            ``Form`` in ``tools/data/benchmark_lists.py``.
        untrimmed: Whether clips are parts of longer videos, so that one has
            to say which of the two one has.
    """

    name: str
    title: str
    folder: str
    classes: Mapping[str, str]
    lists: Mapping[str, Sequence[str]]
    forms: Sequence[Mapping[str, Any]]
    untrimmed: bool = False


_FACTS = yaml.safe_load(
    Path(__file__).with_name('benchmarks.yml').read_text('utf-8')
)
BENCHMARKS = {
    name: Benchmark(**(dict(name=name, folder=name) | facts))
    for name, facts in _FACTS.items()
}


@lru_cache
def shipped_names(name: str) -> list[str]:
    """Names of a file in ``classes/``.

    >>> shipped_names('ucf101.txt')[:2]
    ['ApplyEyeMakeup', 'ApplyLipstick']
    """
    return read_class_names(osp.join(CLASS_FOLDER, name))


def class_names(benchmark: Benchmark) -> dict[str, list[str]]:
    """Class names by label column.

    >>> class_names(BENCHMARKS['epic_sounds'])['label'][1]
    'scrub / scrape / scour / wipe'
    """
    return {
        column: shipped_names(name)
        for column, name in benchmark.classes.items()
    }
