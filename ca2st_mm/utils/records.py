# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Reading, writing and comparing the JSON records of results."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class RecordError(ValueError):
    """A record cannot be used; the message names the file and the fix."""


def write_record(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write a record, one value a line.

    Args:
        path: The file.
        record: Nested values; no NaN.
    """
    text = json.dumps(record, indent=2, allow_nan=False)
    Path(path).write_text(text + '\n')


def read_record(path: str | Path) -> dict[str, Any]:
    """Read a record.

    Args:
        path: The file.

    Raises:
        RecordError: If it is not there or no JSON object.
    """
    try:
        record = json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise RecordError(
            f'There is no file {path}; tools/test.py writes results.json '
            'next to its log'
        ) from error
    except ValueError as error:
        raise RecordError(f'{path} is no JSON file: {error}') from error
    if not isinstance(record, dict):
        raise RecordError(f'{path} holds no JSON object')
    return record


def read_number(text: str) -> float:
    """The number that ``FILE:METRIC`` names.

    Args:
        text: A results.json, a colon and the name of a metric in it.

    Raises:
        RecordError: If the file has no such number.
    """
    path, _, name = text.rpartition(':')
    if not path:
        raise RecordError(f'{text!r} names no number; write FILE:METRIC')
    metrics = read_record(path).get('metrics', {})
    if not isinstance(metrics.get(name), (int, float)):
        raise RecordError(
            f'{path} has no number {name!r}; it has {", ".join(metrics)}'
        )
    return metrics[name]


def lines_of(value: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, plain value) of everything in a record.

    Args:
        value: A record or a part of it.
        key: Where the part stands.
    """
    if isinstance(value, Mapping) and value:
        for name, child in value.items():
            yield from lines_of(child, f'{key}.{name}' if key else name)
    elif isinstance(value, list) and value:
        for index, child in enumerate(value):
            yield from lines_of(child, f'{key}.{index}')
    else:
        yield key, value


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple]:
    """The lines in which two records differ.

    Args:
        a: One record.
        b: The other.

    Returns:
        (key, value in a, value in b) in the order of a; None stands for a
        line that is not there.
    """
    left, right = dict(lines_of(a)), dict(lines_of(b))
    keys = [*left, *(key for key in right if key not in left)]
    missing = object()
    return [
        (key, left.get(key), right.get(key))
        for key in keys
        if left.get(key, missing) != right.get(key, missing)
    ]
