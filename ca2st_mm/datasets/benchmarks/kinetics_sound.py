# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""KineticsSound: the 31 classes of Kinetics-400 that one can hear."""

from collections.abc import Iterator, Sequence

from . import kinetics400
from .benchmark import (
    FILE_TEXT_LABEL,
    Benchmark,
    Clip,
    Form,
    Read,
    Task,
    each_row,
    file_text_label,
    read_path_label,
    shipped_names,
)
from .label_files import BenchmarkError, Source, has_cells, is_path_label


def kinetics_indices(names: Sequence[str]) -> dict[int, int]:
    """Find the classes in Kinetics-400, by their names.

    Args:
        names: Class names, in order.

    Returns:
        Index in Kinetics-400 -> index in ``names``.

    Raises:
        BenchmarkError: If a class is not in Kinetics-400.
    """
    known = shipped_names('kinetics400.txt')
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BenchmarkError(
            f'Kinetics-400 has no class {unknown[0]!r}; correct the name in '
            'the list of --classes.'
        )
    return {known.index(name): index for index, name in enumerate(names)}


def subset_of(read: Read) -> Read:
    """Make a reader of Kinetics-400 keep the classes of KineticsSound.

    Args:
        read: Reader of a list of Kinetics-400.
    """

    def read_subset(source: Source, task: Task) -> Iterator[Clip]:
        indices = kinetics_indices(task.names['label'])
        whole = Task(task.split, dict(label=shipped_names('kinetics400.txt')))
        for clip in read(source, whole):
            if clip.labels[0] in indices:
                yield clip._replace(labels=(indices[clip.labels[0]],))

    return read_subset


BENCHMARK = Benchmark(
    name='kinetics_sound',
    title='KineticsSound',
    folder='kinetics_sound',
    classes=dict(label=31),
    class_files=dict(label='kinetics_sound.txt'),
    lists=dict(
        train=('my_train.txt', 'train.csv', 'kinetics_train.csv'),
        test=('my_test.txt', 'val.csv', 'kinetics_val.csv'),
    ),
    forms=(
        Form(
            "the authors' list 'id,text,label'",
            has_cells(2, count=3),
            each_row(file_text_label, FILE_TEXT_LABEL),
        ),
        Form(
            'official CSV of Kinetics-400',
            kinetics400.is_official,
            subset_of(kinetics400.read_official),
        ),
        Form(
            "list 'file label' of Kinetics-400",
            is_path_label,
            subset_of(read_path_label),
        ),
    ),
)
