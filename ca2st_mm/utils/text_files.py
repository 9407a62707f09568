# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Small text files: lists of clips, class names, JSON records of results."""

import codecs
import json
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .errors import UsageError, UserError
from .files import written_whole

_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, 'utf-32'),
    (codecs.BOM_UTF32_BE, 'utf-32'),
    (codecs.BOM_UTF16_LE, 'utf-16'),
    (codecs.BOM_UTF16_BE, 'utf-16'),
    (codecs.BOM_UTF8, 'utf-8-sig'),
)


class ListFileError(UserError, ValueError):
    """A list file cannot be used: one sentence names it and what to do."""


def read_text(path: str, encoding: str | None = None) -> str:
    """Read a text file: UTF-8, or what its byte order mark says.

    Line ends are kept as they are, so that ``csv`` can tell those inside
    quotes from those between rows.

    Args:
        path: The file; any storage that MMEngine opens.
        encoding: Fallback for a file that is not UTF-8, such as ``'gbk'``.

    Raises:
        ListFileError: If it is a folder, no text, or in another encoding.
        FileNotFoundError: If there is no such file.
    """
    if os.path.isdir(path):
        raise ListFileError(f"'{path}' is a folder; name the list in it.")
    from mmengine import fileio  # imports torch, seconds

    data = fileio.get(path)
    marked = next((name for m, name in _MARKS if data.startswith(m)), None)
    tries = [marked] if marked else ['utf-8', *([encoding] * bool(encoding))]
    for name in tries:
        try:
            text = data.decode(name)
        except UnicodeDecodeError:
            continue
        except LookupError as error:
            raise ListFileError(
                f"'{path}': Python knows no encoding {name!r}; common ones "
                "are 'gbk', 'shift_jis', 'cp1252' and 'latin-1'."
            ) from error
        if '\0' in text:
            raise ListFileError(
                f"'{path}' holds zero bytes, so it is not plain text; save "
                'it as text in UTF-8.'
            )
        return text
    if data.startswith(b'\x80'):
        raise ListFileError(
            f"'{path}' is a pickle, which can run any code when it is "
            'loaded; convert it to CSV or JSON where you trust it.'
        )
    raise ListFileError(
        f"'{path}' is not text in {' or '.join(tries)}; save it as UTF-8, or "
        "state its encoding (encoding='gbk' in a dataset, --encoding gbk for "
        'a tool).'
    )


def lines_of(text: str) -> list[str]:
    """The lines of a text without their ends.

    Unlike ``str.splitlines`` this leaves form feeds, U+2028 and other
    characters that may stand in file names alone.

    >>> lines_of('a\\u2028b 0\\r\\nc 1\\n')
    ['a\\u2028b 0', 'c 1']
    """
    return re.split('\r\n|\r|\n', text.removesuffix('\n').removesuffix('\r'))


def write_texts(texts: Mapping[str, str]) -> None:
    """Write text files as UTF-8, all or none.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_texts({f'{folder}/a.txt': 'one', f'{folder}/b.txt': 'two'})
    ...     read_text(f'{folder}/b.txt')
    'two'

    Args:
        texts: Path -> text.  A file of this name is replaced; its folder is
            made.

    Raises:
        OSError: If one cannot be written; nothing has changed then.
    """
    with ExitStack() as stack:
        for path, text in texts.items():
            part = stack.enter_context(written_whole(path))
            part.write_text(text, 'utf-8', newline='')


def write_record(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write a record without NaN, one value a line; never a part of it."""
    text = json.dumps(record, indent=2, allow_nan=False)
    write_texts({str(path): text + '\n'})


def read_record(path: str | Path) -> dict[str, Any]:
    """Read a record of results.

    Raises:
        UsageError: If it is not there or no JSON object.
    """
    try:
        record = json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise UsageError(
            f'There is no file {path}; ca2st test writes results.json '
            'next to its log'
        ) from error
    except ValueError as error:
        raise UsageError(f'{path} is no JSON file: {error}') from error
    if not isinstance(record, dict):
        raise UsageError(f'{path} holds no JSON object')
    return record
