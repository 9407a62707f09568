# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Class names of the benchmarks, shipped with the package."""

import os.path as osp
from collections.abc import Mapping
from functools import lru_cache

from ca2st_mm.utils.class_names import read_class_names

from .annotations import Benchmark
from .source import BenchmarkError

FOLDER = osp.join(osp.dirname(__file__), 'classes')


@lru_cache
def shipped_names(name: str) -> list[str]:
    """Names of a file in ``classes/``.

    Args:
        name: File name.
    """
    return read_class_names(osp.join(FOLDER, name))


def class_names(
    benchmark: Benchmark, path: str | None = None
) -> Mapping[str, list[str]]:
    """Class names by label column.

    Args:
        benchmark: The benchmark.
        path: The user's own list, in place of the shipped one.

    Raises:
        BenchmarkError: If their number is not the published one, the user's
            list cannot be read, or the benchmark has verbs and nouns and
            ``path`` is given.
    """
    names = {
        column: shipped_names(name)
        for column, name in benchmark.class_files.items()
    }
    if path:
        if list(names) != ['label']:
            raise BenchmarkError(
                f'{benchmark.title} has verbs and nouns with official '
                'numbers; leave --classes out.'
            )
        try:
            names = dict(label=read_class_names(path))
        except (ValueError, FileNotFoundError) as error:
            raise BenchmarkError(f'--classes {path}: {error}') from error
    for column, count in benchmark.classes.items():
        if len(names[column]) != count:
            where = path or benchmark.class_files[column]
            raise BenchmarkError(
                f"'{where}' names {len(names[column])} classes, but "
                f'{benchmark.title} has {count} ({column}).'
            )
    return names
