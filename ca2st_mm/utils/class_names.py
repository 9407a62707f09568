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

    Blank lines, and blanks around a name, are left out; ``encoding`` is the
    fallback for a file that is not UTF-8.

    Raises:
        ListFileError: If it names no class, or one twice, or is no text.
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
    classes: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
) -> dict[str, int]:
    """Numbers of classes by label column.

    >>> sizes_by_column(400)
    {'label': 400}
    >>> sizes_by_column(None, dict(verb=('take', 'put'), noun=('tap',)))
    {'verb': 2, 'noun': 1}

    Args:
        num_classes: The stated numbers; a bare one is of ``label``.
        classes: Class names, as :func:`resolve_class_names` gives them.

    Raises:
        ValueError: If the two disagree, a key is no label column, or there
            is but one class.
    """
    stated, counted = num_classes, {}
    if stated is None:
        stated = {}
    elif not isinstance(stated, Mapping):
        stated = dict(label=stated)
    if isinstance(classes, Mapping):
        counted = {column: len(names) for column, names in classes.items()}
    elif classes is not None:
        counted = dict(label=len(classes))
    if stated and counted and dict(stated) != counted:
        raise ValueError(
            f'The dataset has num_classes={num_classes}, but its classes are '
            f'{counted.get("label", counted)}; leave num_classes out, or '
            'correct the list.'
        )
    sizes = dict(counted or stated)
    unknown = sorted(set(sizes) - set(LABEL_COLUMNS))
    if unknown:
        raise ValueError(
            f'The classes have the unknown columns {unknown}; the label '
            f'columns are {LABEL_COLUMNS}.'
        )
    if sizes and max(sizes.values()) == 1:
        raise ValueError(
            'A single class leaves nothing to learn, and every accuracy is '
            '100 %; give the dataset a second class, such as "other".'
        )
    return sizes


def say_sizes(sizes: Mapping[str, int]) -> str:
    """Numbers of classes in words.

    >>> say_sizes(dict(verb=97, noun=300))
    '97 verb and 300 noun classes'
    """
    words = [
        str(size) if column == 'label' else f'{size} {column}'
        for column, size in sizes.items()
    ]
    return f'{" and ".join(words)} classes'
