# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Class names and numbers of classes, as datasets and configs write them."""

import os.path as osp
from collections.abc import Mapping, Sequence

from .text_files import ListFileError, lines_of, read_text

LABEL_COLUMNS = ('label', 'verb', 'noun')
# Names, or a text file with one a line.
ClassNames = str | Sequence[str]
# One value, or one for each label column.
ByColumn = ClassNames | Mapping[str, ClassNames]


def read_class_names(path: str, encoding: str | None = None) -> list[str]:
    """Class names from a text file, one a line; the order is the index.

    Args:
        path: The file; blank lines, and blanks around a name, are left out.
        encoding: Fallback for a file that is not UTF-8.

    Raises:
        ListFileError: If the file names no class, or one twice, or is no
            text.
        FileNotFoundError: If there is no such file.
    """
    lines = lines_of(read_text(path, encoding))
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise ListFileError(
            f"The class list '{path}' is empty; write one name a line."
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ListFileError(
            f"The class list '{path}' names {twice!r} twice; each class needs "
            'a line of its own.'
        )
    return names


def resolve_class_names(
    classes: ByColumn, root: str = '', encoding: str | None = None
) -> tuple[str, ...] | dict[str, tuple[str, ...]]:
    """Class names, read from files where files are named.

    >>> resolve_class_names(dict(verb=['take', 'put'], noun=['tap']))
    {'verb': ('take', 'put'), 'noun': ('tap',)}

    Args:
        classes: Names or a file; or one of these for each label column.
        root: Folder that file names are relative to.
        encoding: Fallback for files that are not UTF-8.

    Raises:
        ListFileError: If a file is not a list of names.
        FileNotFoundError: If there is no such file.
    """
    if isinstance(classes, Mapping):
        return {
            column: resolve_class_names(names, root, encoding)
            for column, names in classes.items()
        }
    if isinstance(classes, str):
        classes = read_class_names(osp.join(root, classes), encoding)
    return tuple(classes)


def sizes_by_column(
    num_classes: int | Mapping[str, int] | None,
) -> dict[str, int]:
    """Numbers of classes by label column; a bare number is of ``label``.

    >>> sizes_by_column(400), sizes_by_column(None)
    ({'label': 400}, {})

    Args:
        num_classes: As ``AudioVisualDataset`` takes it.

    Raises:
        ValueError: If a key is no label column, or there is but one class.
    """
    if num_classes is None:
        return {}
    if not isinstance(num_classes, Mapping):
        num_classes = dict(label=num_classes)
    unknown = set(num_classes) - set(LABEL_COLUMNS)
    if unknown:
        raise ValueError(
            f'num_classes has the unknown keys {sorted(unknown)}; the label '
            f'columns are {LABEL_COLUMNS}.'
        )
    if num_classes and all(size == 1 for size in num_classes.values()):
        raise ValueError(
            'A single class leaves nothing to learn, and every accuracy is '
            '100 %; give the dataset a second class, such as "other".'
        )
    return dict(num_classes)


def agreed_num_classes(
    classes: tuple[str, ...] | Mapping[str, tuple[str, ...]],
    num_classes: int | Mapping[str, int] | None = None,
) -> int | dict[str, int]:
    """The number of classes that names and number agree on.

    Args:
        classes: As :func:`resolve_class_names` gives them.
        num_classes: The stated number, if there is one.

    Raises:
        ValueError: If they disagree; says both numbers.
    """
    if isinstance(classes, Mapping):
        counted = {column: len(names) for column, names in classes.items()}
    else:
        counted = len(classes)
    if num_classes is None or counted == num_classes:
        return counted
    raise ValueError(
        f'The dataset has num_classes={_say(num_classes)}, but its classes '
        f'are {_say(counted)}; leave num_classes out, or correct the list.'
    )


def _say(sizes: int | Mapping[str, int]) -> str:
    return str(dict(sizes) if isinstance(sizes, Mapping) else sizes)
