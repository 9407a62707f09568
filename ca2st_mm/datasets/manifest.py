# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Reading annotation files: our CSV manifest and MMAction2's lists.

Pure functions from text to rows; no dataset, no registry.
"""

import csv
from collections.abc import Mapping

from mmengine.fileio import get_text

LabelSizes = Mapping[str, int | None]


def read_annotations(path: str, sizes: LabelSizes) -> list[dict]:
    """Read a manifest with a header, or lines ``path label``.

    Args:
        path: The annotation file.
        sizes: Number of classes per label column (``label``, ``verb``,
            ``noun``); None or absent means unchecked.

    Returns:
        One dict a row: ``id`` (or None), ``file``, ``audio`` (or None),
        ``start``, ``end`` (seconds or None), ``label`` (int, [verb, noun],
        or None in a manifest without label columns).

    Raises:
        ValueError: If the file is empty, a column is missing or a value
            is wrong; names the file, the line and the value.
    """
    lines = get_text(path).lstrip('\ufeff').splitlines()
    if not any(line.strip() for line in lines):
        raise ValueError(f"Annotation file '{path}' is empty.")
    fields = [field.strip() for field in next(csv.reader(lines[:1]))]
    if 'file' in fields:
        return _read_manifest(path, lines, fields, sizes)
    if len(fields) == 1 and _is_int(lines[0].split()[-1]):
        return _read_list(path, lines, sizes)
    raise ValueError(
        f"Annotation file '{path}' starts with {lines[0][:80]!r}: expected "
        "a CSV header with the columns 'file' and 'label' (or 'verb' and "
        "'noun'), or lines 'path label' without a header."
    )


def _read_manifest(
    path: str, lines: list[str], fields: list[str], sizes: LabelSizes
) -> list[dict]:
    """Read the rows below the header."""
    columns = [c for c in ('label', 'verb', 'noun') if c in fields]
    if columns not in ([], ['label'], ['verb', 'noun']):
        raise ValueError(
            f"Annotation file '{path}' needs the column 'label', or both "
            f"'verb' and 'noun', or none of them (a test set without public "
            f'labels); its header is {",".join(fields)}.'
        )
    rows = []
    reader = csv.DictReader(lines[1:], fieldnames=fields)
    for row in reader:
        where = f"'{path}', line {reader.line_num + 1}"
        values = {k: (row.get(k) or '').strip() for k in fields}
        if not values['file']:
            raise ValueError(f"{where}: the column 'file' is empty.")
        labels = [_label(where, c, values[c], sizes) for c in columns]
        start = _seconds(where, 'start', values.get('start'))
        end = _seconds(where, 'end', values.get('end'))
        if end is not None and end <= (start or 0.0):
            raise ValueError(
                f'{where}: the clip ends at {end} s but starts at '
                f'{start or 0.0} s.'
            )
        rows.append(
            dict(
                id=values.get('id') or None,
                file=values['file'],
                audio=values.get('audio') or None,
                start=start,
                end=end,
                label=_joined(labels),
            )
        )
    if not rows:
        raise ValueError(f"Annotation file '{path}' has a header but no row.")
    return rows


def _read_list(path: str, lines: list[str], sizes: LabelSizes) -> list[dict]:
    """Read MMAction2's ``path label`` lines; the path may hold spaces."""
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"'{path}', line {number}"
        parts = line.rsplit(maxsplit=1)
        if len(parts) != 2:
            raise ValueError(f"{where}: expected 'path label', got {line!r}.")
        label = _label(where, 'label', parts[1], sizes)
        rows.append(
            dict(id=None, file=parts[0].strip(), audio=None)
            | dict(start=None, end=None, label=label)
        )
    return rows


def _label(where: str, column: str, text: str, sizes: LabelSizes) -> int:
    """One class index, checked against the number of classes."""
    if not _is_int(text):
        raise ValueError(
            f'{where}: {column} {text!r} is not a class index (an integer '
            'from 0).'
        )
    label, size = int(text), sizes.get(column)
    if label < 0 or (size is not None and label >= size):
        known = (
            '' if size is None else f' for {size} classes (0 to {size - 1})'
        )
        raise ValueError(f'{where}: {column} {label} is out of range{known}.')
    return label


def _joined(labels: list[int]) -> int | list[int] | None:
    """A class, a verb and a noun, or nothing."""
    return labels if len(labels) > 1 else next(iter(labels), None)


def _seconds(where: str, column: str, text: str | None) -> float | None:
    """A time in seconds, or None where the cell is empty."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float('inf'):
        raise ValueError(
            f'{where}: {column} {text!r} is not a time in seconds.'
        )
    return value


def _is_int(text: str) -> bool:
    return text.removeprefix('-').isdecimal()
