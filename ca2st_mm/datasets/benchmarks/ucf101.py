# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""UCF-101: three splits of the same 13,320 clips."""

from collections.abc import Iterator

from .benchmark import Benchmark, Clip, Form, Task
from .label_files import BenchmarkError, Row, Source, is_number

COUNTS = dict(
    train_split1=9_537,
    test_split1=3_783,
    train_split2=9_586,
    test_split2=3_734,
    train_split3=9_624,
    test_split3=3_696,
)


def is_list(source: Source) -> bool:
    """Whether the first line is ``class/file.avi``, a number or none."""
    cells = next(source.path_labels()).cells
    number = cells['label']
    return cells['file'].count('/') == 1 and (not number or is_number(number))


def _counts_from_0(source: Source) -> bool:
    """Whether it is such a list with numbers from 0: official ones have 1."""
    return is_list(source) and any(
        row.cells['label'] == '0' for row in source.path_labels()
    )


def read_list(source: Source, task: Task) -> Iterator[Clip]:
    """The class is the folder; a number after the file has to agree.

    Raises:
        BenchmarkError: If numbers start neither from 0 nor from 1.
    """
    offsets = set()
    for row in source.path_labels():
        file, folder = row['file'], row['file'].partition('/')[0]
        named = Row(row.where, dict(folder=folder))
        label = named.class_of('folder', task.names['label'])
        if row.cells['label']:
            offsets.add(row.integer('label') - label)
        if len(offsets) > 1 or not offsets <= {0, 1}:
            raise BenchmarkError(
                f'{row.where}: the number {row["label"]} does not fit the '
                f'class {folder!r}; the official numbers are those of '
                'classInd.txt.'
            )
        yield Clip(file, (label,), (file,))


def _lists(split: str) -> tuple:
    kind, number = split.split('_split')
    return (f'{kind}list0{number}.txt', f'{kind}list0{number}_audio.txt')


BENCHMARK = Benchmark(
    name='ucf101',
    title='UCF-101',
    folder='ucf101',
    classes=dict(label=101),
    class_files=dict(label='ucf101.txt'),
    lists={split: _lists(split) for split in COUNTS},
    forms=(
        Form(
            "the authors' list 'class/file label' of clips with audio",
            _counts_from_0,
            read_list,
            # How many clips have audio is not published.
        ),
        Form("official list 'class/file'", is_list, read_list, COUNTS),
    ),
)
