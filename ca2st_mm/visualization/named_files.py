# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""``NAME=FILE`` on a command line: a model and what it has measured."""

from collections.abc import Sequence
from pathlib import Path

from .style import FigureInputError


def named_files(texts: Sequence[str]) -> dict[str, str]:
    """Files by the name of their model.

    Args:
        texts: Each ``NAME=FILE``, or a file or folder, named by the folder.

    Raises:
        FigureInputError: If two have the same name.
    """
    files: dict[str, str] = {}
    for text in texts:
        name, path = split_name(text)
        if name in files:
            raise FigureInputError(
                f'{files[name]} and {path} are both called {name!r}; write '
                'NAME=FILE to tell them apart'
            )
        files[name] = path
    return files


def split_name(text: str) -> tuple[str, str]:
    """The model's name and the rest of ``NAME=REST``.

    Args:
        text: Without a name, the folder of the file gives it.
    """
    name, sign, rest = text.partition('=')
    if sign and name:
        return name, rest
    path = Path(text).resolve()
    return (path if path.is_dir() else path.parent).name, text
