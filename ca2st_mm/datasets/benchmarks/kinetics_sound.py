# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""KineticsSound: the 31 classes of Kinetics-400 that one can hear."""

from collections.abc import Iterator, Mapping, Sequence

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

# Our name -> the one in Kinetics-400, where they differ: none of the 31 does.
ALIASES: Mapping[str, str] = {}


def kinetics_indices(
    names: Sequence[str], aliases: Mapping[str, str] = ALIASES
) -> dict[int, int]:
    """Find the classes in Kinetics-400.

    Args:
        names: Class names, in order.
        aliases: Name -> its name in Kinetics-400, where they differ.

    Returns:
        Index in Kinetics-400 -> index in ``names``.

    Raises:
        BenchmarkError: If a class is not in Kinetics-400.
    """
    known = shipped_names('kinetics400.txt')
    wanted = [aliases.get(name, name) for name in names]
    strange = [name for name in wanted if name not in known]
    if strange:
        raise BenchmarkError(
            f'Kinetics-400 has no class {strange[0]!r}; correct the name, or '
            'add it to ALIASES in ca2st_mm/datasets/benchmarks/'
            'kinetics_sound.py.'
        )
    return {known.index(name): index for index, name in enumerate(wanted)}


def subset_of(read: Read) -> Read:
    """Make a reader of Kinetics-400 keep the classes with sound.

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
