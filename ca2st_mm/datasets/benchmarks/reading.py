# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Find the annotation file of a split, tell its form, check its size."""

import os.path as osp
from collections.abc import Callable, Mapping, Sequence

from .annotations import (
    Annotations,
    Benchmark,
    Form,
    Task,
)
from .source import BenchmarkError, Source

Say = Callable[[str], None]


def find_lists(
    benchmark: Benchmark,
    folder: str,
    named: Mapping[str, str],
    splits: Sequence[str],
    say: Say,
) -> Mapping[str, str]:
    """Annotation file of each split.

    Args:
        benchmark: The benchmark.
        folder: Where its annotation files lie.
        named: Split -> file, in place of the usual ones.
        splits: Splits that must be there; empty for all that are.
        say: Called with lines of the log.

    Raises:
        BenchmarkError: If a split is unknown, or its file not there.
    """
    unknown = sorted({*named, *splits} - set(benchmark.lists))
    if unknown:
        raise BenchmarkError(
            f'{benchmark.title} has no split {unknown[0]!r}, only '
            f'{", ".join(benchmark.lists)}.'
        )
    found = {}
    for split in splits or benchmark.lists:
        path = named.get(split) or _first_file(benchmark, folder, split)
        if path and osp.isfile(path):
            found[split] = path
            continue
        usual = ', '.join(benchmark.lists[split])
        absent = (
            f"no file '{path}'" if path else f"none of {usual} in '{folder}'"
        )
        if splits or path:
            raise BenchmarkError(
                f'{benchmark.title}, {split}: there is {absent}; pass '
                f'--annotations FOLDER or --list {split}=FILE.'
            )
        say(f'{split}: skipped, there is {absent}')
    if not found:
        raise BenchmarkError(
            f"{benchmark.title}: no annotation file in '{folder}'; "
            'tools/data/'
            f'{benchmark.name}/README.md says where to get it, then pass '
            '--annotations FOLDER.'
        )
    return found


def _first_file(benchmark: Benchmark, folder: str, split: str) -> str | None:
    paths = [osp.join(folder, name) for name in benchmark.lists[split]]
    return next((path for path in paths if osp.isfile(path)), None)


def read_split(
    benchmark: Benchmark,
    path: str,
    split: str,
    names: Mapping[str, list[str]],
    allow_partial: bool,
    say: Say,
) -> Annotations:
    """Read the annotations of a split and check how many there are.

    Args:
        benchmark: The benchmark.
        path: The annotation file.
        split: Name of the split.
        names: Class names by label column.
        allow_partial: Whether any number of rows will do.
        say: Called with lines of the log.

    Raises:
        BenchmarkError: If the form is unknown, a row is wrong, or the rows
            are not as many as published.
    """
    source = Source(path)
    form = form_of(benchmark, source)
    say(f"{split}: reads '{path}' ({form.title})")
    annotations = form.read(source, Task(split, names))
    _check_count(form, split, annotations.num_rows, allow_partial, say)
    return annotations


def form_of(benchmark: Benchmark, source: Source) -> Form:
    """Tell by its content in which form a file is.

    Raises:
        BenchmarkError: If it has none of the known forms.
    """
    for form in benchmark.forms:
        if form.matches(source):
            return form
    known = '; '.join(form.title for form in benchmark.forms)
    raise BenchmarkError(
        f"'{source.path}' starts with {source.lines[0][:80]!r}, which is no "
        f'form of {benchmark.title} known here: {known}.'
    )


def _check_count(
    form: Form, split: str, rows: int, allow_partial: bool, say: Say
) -> None:
    published = form.counts.get(split)
    if not rows:
        raise BenchmarkError(f'{split}: the file has no row of this split.')
    if published is None:
        say(f'{split}: {rows:,} rows; the published number is not known here')
    elif rows == published:
        say(f'{split}: {rows:,} rows, as published')
    elif allow_partial:
        say(f'{split}: a subset, {rows:,} of {published:,} published rows')
    else:
        raise BenchmarkError(
            f'{split}: the file has {rows:,} rows, published are '
            f'{published:,}; take the complete file, or pass --allow-partial '
            'if you mean to use a subset.'
        )
