# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""UCF-101: three splits of the same 13,320 clips."""

from .annotations import (
    Annotations,
    Benchmark,
    Clip,
    Form,
    Task,
)
from .lists import split_path_label
from .source import BenchmarkError, Row, Source

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
    path, number = split_path_label(source.lines[0])
    return path.count('/') == 1 and (not number or number.isdecimal())


def read_list(source: Source, task: Task) -> Annotations:
    """The class is the folder; a number behind it has to agree.

    Raises:
        BenchmarkError: If numbers start neither from 0 nor from 1.
    """
    names = task.names['label']
    clips, offsets = [], set()
    for number, line in enumerate(source.lines, start=1):
        where = f"'{source.path}', line {number}"
        path, index = split_path_label(line)
        folder = path.partition('/')[0]
        label = Row(where, dict(folder=folder)).class_of('folder', names)
        if index:
            offsets.add(Row(where, dict(label=index)).integer('label') - label)
        if len(offsets) > 1 or not offsets <= {0, 1}:
            raise BenchmarkError(
                f'{where}: the number {index} does not fit the class '
                f'{folder!r}; the official numbers are those of classInd.txt.'
            )
        clips.append(Clip(path, (label,), (path,)))
    return Annotations(clips)


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
    forms=(Form("list 'class/file'", is_list, read_list, COUNTS),),
)
