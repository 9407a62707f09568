# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Reading and writing the JSON records of results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import UsageError
from .text_files import write_texts


def write_record(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write a record without NaN, one value a line; never a part of it."""
    text = json.dumps(record, indent=2, allow_nan=False)
    write_texts({str(path): text + '\n'})


def read_record(path: str | Path) -> dict[str, Any]:
    """Read a record, or raise ``UsageError``."""
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
