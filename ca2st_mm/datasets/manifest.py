# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Annotation files: our CSV manifest and MMAction2's lists.

Pure functions from text to rows; no dataset, no registry.
"""

import csv
import difflib
import io
import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mmengine.logging import print_log

from ca2st_mm.utils.text_files import ListFileError, lines_of, read_text

LabelSizes = Mapping[str, int | None]
COLUMNS = ('id', 'file', 'audio', 'start', 'end', 'label', 'verb', 'noun')
# What other projects call our columns.
_OTHER_NAMES = dict(
    file='path filename filepath file_name file_path video video_path clip',
    audio='audio_file audio_path wav sound',
    start='start_time start_timestamp time_start t_start start_sec begin',
    end='end_time end_timestamp stop stop_timestamp time_end t_end end_sec',
    label='class class_id class_index label_id label_index category target',
    verb='verb_class verb_id verb_label',
    noun='noun_class noun_id noun_label',
)


def read_annotations(
    path: str, sizes: LabelSizes, encoding: str | None = None
) -> list[dict]:
    """Read a manifest with a header, or lines ``path label``.

    Values of a manifest are taken as they stand, blanks and line breaks in
    quoted names included.  Where the header has blanks after its commas,
    those after the commas of the rows are left out.

    Args:
        path: The annotation file.
        sizes: Number of classes per label column (``label``, ``verb``,
            ``noun``); None or absent means unchecked.
        encoding: Fallback for a file that is not UTF-8.

    Returns:
        One dict a row: ``id`` (or None), ``file``, ``audio`` (or None),
        ``start``, ``end`` (seconds or None), ``label`` (int, [verb, noun],
        or None in a manifest without label columns), ``line``.

    Raises:
        ListFileError: If the file is no text, empty, a column is missing or
            unknown, or a value is wrong; names the file, the line and the
            value.
        FileNotFoundError: If there is no such file.
    """
    text = read_text(path, encoding)
    lines = lines_of(text)
    first = next((n for n, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise ListFileError(f"Annotation file '{path}' is empty.")
    fields = [f.strip(' "') for f in lines[first].split(',')]
    if 'file' in fields:
        return _read_manifest(path, text, sizes)
    *names, last = lines[first].rsplit(maxsplit=1)
    if names and _is_int(last) and not names[0].endswith(','):
        return _read_list(path, lines, sizes)
    _refuse_other_names(path, fields)
    raise ListFileError(
        f"Annotation file '{path}' starts with {lines[first][:80]!r}: "
        "expected a CSV header with the columns 'file' and 'label' (or "
        "'verb' and 'noun'), or lines 'path label' without a header."
    )


def manifest_text(
    path: str, columns: Sequence[str], rows: Iterable[Mapping]
) -> str:
    """The text of a manifest that :func:`read_annotations` reads back.

    >>> manifest_text('x.csv', ['file', 'label'], [dict(file='a,b', label=1)])
    'file,label\\n"a,b",1\\n'

    Args:
        path: Where it is going to be written, for messages.
        columns: Names of the columns.
        rows: Values by column; those that are absent stay empty.

    Raises:
        ListFileError: If a name cannot be written as UTF-8.
    """
    rows = list(rows)
    # The writer leaves a carriage return without quotes.
    odd = any('\r' in str(value) for row in rows for value in row.values())
    buffer = io.StringIO(newline='')
    writer = csv.DictWriter(
        buffer,
        columns,
        extrasaction='ignore',
        lineterminator='\n',
        quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL,
    )
    writer.writeheader()
    writer.writerows(rows)
    text = buffer.getvalue()
    try:
        text.encode('utf-8')
    except UnicodeEncodeError as error:
        name = error.object[max(error.start - 40, 0) : error.end + 40]
        raise ListFileError(
            f"'{path}': a file name is not UTF-8 ({name!r}); rename the file."
        ) from error
    return text


def manifest_cells(path: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of a manifest as they stand, without blank rows.

    Args:
        path: The manifest, for messages.
        text: Its content.

    Yields:
        Line number and cells of the header and of each row.

    Raises:
        ListFileError: If quotes are left open; names the line.
    """
    header = next(line for line in lines_of(text) if line.strip())
    reader = csv.reader(
        io.StringIO(text, newline=''),
        strict=True,  # else an open quote swallows the rows below it
        skipinitialspace=', ' in header,
    )
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise ListFileError(
            f"'{path}', line {line}: {error}; a value with commas, quotes or "
            'line breaks stands in double quotes, quotes in it are doubled.'
        ) from error


def repeats_message(
    clips: Iterable[tuple[Hashable, Any, str]],
) -> str | None:
    """One sentence about clips that are listed more than once, or None.

    >>> repeats_message([('a.mp4', 0, 'line 1'), ('a.mp4', 1, 'line 2')])
    '1 rows repeat a clip, 1 of them with other labels, such as line 2'

    Args:
        clips: What makes each the same clip, its labels, and a name for the
            message.
    """
    first: dict[Hashable, Any] = {}
    again, differ = [], []
    for identity, labels, name in clips:
        if identity not in first:
            first[identity] = labels
        else:
            again.append(name)
            differ += [name] * (labels != first[identity])
    if not again:
        return None
    return (
        f'{len(again)} rows repeat a clip, {len(differ)} of them with other '
        f'labels, such as {(differ or again)[0]}'
    )


def _read_manifest(path: str, text: str, sizes: LabelSizes) -> list[dict]:
    """Read header and rows of a manifest."""
    table = manifest_cells(path, text)
    _, header = next(table)
    fields = [field.strip() for field in header]
    columns = _label_columns(path, fields)
    rows = []
    for line, cells in table:
        where = f"'{path}', line {line}"
        if any(cell.strip() for cell in cells[len(fields) :]):
            raise ListFileError(
                f'{where}: {len(cells)} values for the {len(fields)} columns '
                f'{",".join(fields)}; put values with commas into quotes.'
            )
        values = dict.fromkeys(COLUMNS, '')
        values.update(zip(fields, cells, strict=False))
        if not values['file'].strip():
            raise ListFileError(f"{where}: the column 'file' is empty.")
        labels = [_label(where, c, values[c].strip(), sizes) for c in columns]
        start = _seconds(where, 'start', values['start'].strip())
        end = _seconds(where, 'end', values['end'].strip())
        if end is not None and end <= (start or 0.0):
            raise ListFileError(
                f'{where}: the clip ends at {end} s but starts at '
                f'{start or 0.0} s.'
            )
        rows.append(
            dict(
                id=values['id'] if values['id'].strip() else None,
                file=values['file'],
                audio=values['audio'] if values['audio'].strip() else None,
                start=start,
                end=end,
                label=labels if len(labels) > 1 else next(iter(labels), None),
                line=line,
            )
        )
    if not rows:
        raise ListFileError(
            f"Annotation file '{path}' has a header but no row."
        )
    return rows


def _label_columns(path: str, fields: list[str]) -> list[str]:
    """The label columns of a header that is in order."""
    columns = [c for c in ('label', 'verb', 'noun') if c in fields]
    _refuse_other_names(path, fields)
    if columns not in ([], ['label'], ['verb', 'noun']):
        raise ListFileError(
            f"Annotation file '{path}' needs the column 'label', or both "
            "'verb' and 'noun', or none of them (a test set without public "
            f'labels); its header is {",".join(fields)}.'
        )
    for column in columns + ['file', 'audio', 'start', 'end', 'id']:
        if fields.count(column) > 1:
            raise ListFileError(
                f"Annotation file '{path}' has the column '{column}' "
                f'{fields.count(column)} times; keep one.'
            )
    unknown = [field for field in fields if field and field not in COLUMNS]
    if unknown:
        print_log(
            f"'{path}': the columns {', '.join(unknown)} are not used; known "
            f'are {", ".join(COLUMNS)}.',
            logger='current',
            level=logging.WARNING,
        )
    return columns


def _refuse_other_names(path: str, fields: list[str]) -> None:
    """Refuse a column that stands for one of ours under another name.

    Raises:
        ListFileError: If there is one; says what to call it.
    """
    have = set(fields)
    if have & {'verb', 'noun'}:
        have.add('label')
    elif 'label' in have:
        have |= {'verb', 'noun'}
    wrong = {
        field: _likely(field)
        for field in fields
        if field not in COLUMNS and _likely(field) not in {None, *have}
    }
    if wrong:
        renames = ', '.join(f"'{a}' to '{b}'" for a, b in wrong.items())
        raise ListFileError(
            f"Annotation file '{path}' has columns that are not read; rename "
            f'{renames}.'
        )


def _likely(field: str) -> str | None:
    """The column of ours that an unknown one probably means."""
    name = field.lower().replace(' ', '_')
    for column, others in _OTHER_NAMES.items():
        if name in (column, *others.split()):
            return column
    close = difflib.get_close_matches(name, _OTHER_NAMES, 1, cutoff=0.8)
    return close[0] if close else None


def _read_list(path: str, lines: list[str], sizes: LabelSizes) -> list[dict]:
    """Read MMAction2's ``path label`` lines; the path may hold spaces."""
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"'{path}', line {number}"
        parts = line.rsplit(maxsplit=1)
        if len(parts) != 2:
            raise ListFileError(
                f"{where}: expected 'path label', got {line!r}."
            )
        label = _label(where, 'label', parts[1], sizes)
        rows.append(
            dict(id=None, file=parts[0].strip(), audio=None)
            | dict(start=None, end=None, label=label, line=number)
        )
    return rows


def _label(where: str, column: str, text: str, sizes: LabelSizes) -> int:
    """One class index, checked against the number of classes."""
    if not _is_int(text):
        raise ListFileError(
            f'{where}: {column} {text!r} is not a class index (an integer '
            'from 0).'
        )
    label, size = int(text), sizes.get(column)
    if label < 0 or (size is not None and label >= size):
        known = (
            '' if size is None else f' for {size} classes (0 to {size - 1})'
        )
        raise ListFileError(
            f'{where}: {column} {label} is out of range{known}.'
        )
    return label


def _seconds(where: str, column: str, text: str) -> float | None:
    """A time in seconds, or None where the cell is empty."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float('inf'):
        raise ListFileError(
            f'{where}: {column} {text!r} is not a time in seconds.'
        )
    return value


def _is_int(text: str) -> bool:
    # No data set has more classes; int() refuses numbers of 4300 digits.
    return text.removeprefix('-').isdecimal() and len(text) < 10
