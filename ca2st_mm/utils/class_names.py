# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Reading lists of class names."""

from typing import List

from mmengine.fileio import list_from_file


def read_class_names(path: str) -> List[str]:
    """Class names from a text file, one a line; the order is the index.

    Args:
        path: The file; blank lines are left out.

    Raises:
        ValueError: If the file names no class, or one twice.
    """
    names = [line.strip() for line in list_from_file(path, encoding='utf-8')]
    names = [name for name in names if name]
    if not names:
        raise ValueError(f"The class list '{path}' is empty; one name a line.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"The class list '{path}' names {twice!r} twice; each class needs "
            'a line of its own.'
        )
    return names
