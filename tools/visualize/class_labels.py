# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Names of classes and of their groups, for figures."""

import csv
import os.path as osp
from pathlib import Path

from ca2st_mm.datasets.benchmarks import CLASS_FOLDER
from ca2st_mm.utils.class_names import read_class_names
from ca2st_mm.visualization.style import FigureInputError

GROUPS = 'epic_kitchens_100_categories.csv'


def class_labels(listed: str | None, num_classes: int) -> list[str]:
    """Names of the classes: a name a line of a file, or of a shipped list.

    Raises:
        FigureInputError: If there is no such list or it has another length.

    >>> class_labels('kinetics400', 400)[0]
    'abseiling'
    """
    if listed is None:
        return [f'class {number}' for number in range(num_classes)]
    shipped = sorted(path.stem for path in Path(CLASS_FOLDER).glob('*.txt'))
    path = listed
    if listed in shipped:
        path = osp.join(CLASS_FOLDER, f'{listed}.txt')
    try:
        names = read_class_names(path)
    except FileNotFoundError as error:
        raise FigureInputError(
            f'There is no class list {listed}; give a file with one name a '
            f'line, or one of {", ".join(shipped)}'
        ) from error
    except ValueError as error:
        raise FigureInputError(str(error)) from error
    if len(names) != num_classes:
        raise FigureInputError(
            f'{listed} names {len(names)} classes, but the scores are of '
            f'{num_classes}'
        )
    return names


def category_of(
    names: list[str], path: str | None = None, task: str | None = None
) -> list[str]:
    """The group of each class, by default as in EPIC-KITCHENS-100.

    ``path`` is a CSV with the columns ``class`` and ``category``, and
    optionally ``task``, of which only the rows of ours count.

    Raises:
        FigureInputError: If it is no such table or leaves out a class.
    """
    table, path = path or osp.join(CLASS_FOLDER, GROUPS), path or GROUPS
    try:
        with open(table, newline='', encoding='utf-8') as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise FigureInputError(f'There is no table {path}') from error
    if not rows or not {'class', 'category'} <= set(rows[0]):
        raise FigureInputError(
            f"{path} needs the columns 'class' and 'category' and a row for "
            'each class'
        )
    groups = {
        row['class']: row['category']
        for row in rows
        if task is None or row.get('task', task) == task
    }
    missing = [name for name in names if name not in groups]
    if missing:
        raise FigureInputError(
            f'{path} has no category for {len(missing)} of {len(names)} '
            f'classes, first {missing[0]!r}; give the class names with '
            '--classes and a table of them with --categories'
        )
    return [groups[name] for name in names]
