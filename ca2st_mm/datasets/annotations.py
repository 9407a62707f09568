# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Annotation files: CSV with a header, and MMAction2's lists."""

import csv
import difflib
import io
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from ca2st_mm.utils.text_files import ListFileError

from .faults import warn
from .list_files import ListFile, Row

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
    path: str,
    sizes: Mapping[str, int | None],
    encoding: str | None = None,
) -> list[dict]:
    """Read an annotation file with a header, or lines ``path label``.

    Names under a header are taken as they stand, blanks and line breaks in
    quotes included.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile('w', suffix='.csv') as file:
    ...     _ = file.write('file,label,end\\na.mp4,1,2.5\\n')
    ...     file.flush()
    ...     [row] = read_annotations(file.name, dict(label=2))
    >>> row['file'], row['label'], row['start'], row['end'], row['line']
    ('a.mp4', 1, None, 2.5, 2)

    Args:
        path: The annotation file.
        sizes: Number of classes by label column (``label``, ``verb``,
            ``noun``); None or absent means unchecked.
        encoding: Fallback for a file that is not UTF-8.

    Returns:
        One dict a row: ``id`` (or None), ``file``, ``audio`` (or None),
        ``start``, ``end`` (seconds or None), ``label`` (int, [verb, noun],
        or None in an annotation file without label columns), ``line``.

    Raises:
        ListFileError: If the file is no text, empty, a column is missing or
            unknown, or a value is wrong; names the file, the line and the
            value.
        FileNotFoundError: If there is no such file.
    """
    source = ListFile(path, encoding)
    first = source.lines[0][1]
    fields = [field.strip(' "') for field in first.split(',')]
    if 'file' in fields:
        fields = [name.strip() for name in next(source.cells())[1]]
        columns, rows = _label_columns(path, fields), source.table()
    elif source.has_path_labels():
        columns, rows = ['label'], source.path_labels()
    else:
        _refuse_other_names(path, fields)
        raise ListFileError(
            f"Annotation file '{path}' starts with {first[:80]!r}: expected a "
            "CSV header with the columns 'file' and 'label' (or 'verb' and "
            "'noun'), or lines 'path label' without a header."
        )
    clips = [_clip(row, columns, sizes) for row in rows]
    if not clips:
        raise ListFileError(
            f"Annotation file '{path}' has a header but no row."
        )
    return clips


def _clip(
    row: Row, columns: Sequence[str], sizes: Mapping[str, int | None]
) -> dict:
    """The values of a row."""
    row['file']  # which must not be empty
    start, end = row.seconds('start'), row.seconds('end')
    if end is not None and end <= (start or 0.0):
        raise ListFileError(
            f'{row.where}: the clip ends at {end} s but starts at '
            f'{start or 0.0} s.'
        )
    labels = [row.index(column, sizes.get(column)) for column in columns]
    return dict(
        id=row.cells['id'] if row.get('id') else None,
        file=row.cells['file'],
        audio=row.cells['audio'] if row.get('audio') else None,
        start=start,
        end=end,
        label=labels if len(labels) > 1 else next(iter(labels), None),
        line=row.line,
    )


def _label_columns(path: str, fields: list[str]) -> list[str]:
    """The label columns of a header that is in order."""
    _refuse_other_names(path, fields)
    columns = [c for c in ('label', 'verb', 'noun') if c in fields]
    if columns not in ([], ['label'], ['verb', 'noun']):
        raise ListFileError(
            f"Annotation file '{path}' needs the column 'label', or both "
            "'verb' and 'noun', or none of them (a test set without public "
            f'labels); its header is {",".join(fields)}.'
        )
    for column in COLUMNS:
        if fields.count(column) > 1:
            raise ListFileError(
                f"Annotation file '{path}' has the column '{column}' "
                f'{fields.count(column)} times; keep one.'
            )
    unknown = [field for field in fields if field and field not in COLUMNS]
    if unknown:
        warn(
            f"'{path}': the columns {', '.join(unknown)} are not used; known "
            f'are {", ".join(COLUMNS)}.'
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
    close = difflib.get_close_matches(name, _OTHER_NAMES, 1, cutoff=0.8)
    for column, others in _OTHER_NAMES.items():
        if name in others.split() or column in close:
            return column
    return None


def annotation_text(
    path: str, columns: Sequence[str], rows: Iterable[Mapping]
) -> str:
    """The text of an annotation file that :func:`read_annotations` reads back.

    >>> annotation_text('x.csv', ['file', 'end'], [dict(file='a,b', end=1)])
    'file,end\\n"a,b",1\\n'

    Raises:
        ListFileError: If a name cannot be written as UTF-8; names ``path``.
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


def repeats_message(
    clips: Iterable[tuple[Hashable, Any, str]],
) -> str | None:
    """One sentence about clips that are listed more than once, or None.

    >>> repeats_message([('a.mp4', 0, 'line 1'), ('a.mp4', 1, 'line 2')])
    '1 rows repeat a clip, 1 of them with other labels, such as line 2'

    Of each: what makes it the same clip, its labels, a name for the message.
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
