# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How the tools of this folder are called, and print and write reports."""

import argparse
import json
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmengine.config import DictAction

_PACKAGES = ('av', 'ca2st_mm', 'mmaction2', 'numpy', 'opencv-python', 'torch')


def positive(text: str) -> int:
    """A number on the command line, at least 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f'is at least 1, got {text}')
    return int(text)


def add_clip_options(parser: argparse.ArgumentParser) -> None:
    """The flags of a report of a model on clips of a data set."""
    parser.add_argument(
        '--max-clips', type=positive, help='number of clips, drawn at random'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of all that is random'
    )
    parser.add_argument(
        '--batch-size',
        type=positive,
        default=8,
        help='clips at once; default: 8',
    )
    parser.add_argument(
        '--workers', type=int, default=2, help='processes that read clips'
    )
    parser.add_argument('--device', help='the best there is if left out')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='changes to the config, as key.subkey=value ...',
    )
    parser.add_argument(
        '--out',
        help='outputs without extension; next to the checkpoint if left out, '
        'or in work_dirs/CONFIG if\nit is not on this disk',
    )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a text table; numbers with three digits.

    Args:
        rows: By column; columns may differ.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns]
    for row in rows:
        values = (row.get(column, '-') for column in columns)
        cells.append(
            [f'{v:.3g}' if isinstance(v, float) else str(v) for v in values]
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return '\n'.join(
        '  '.join(c.ljust(w) for c, w in zip(line, widths, strict=True))
        for line in cells
    )


def write(
    path: Path | None, rows: Sequence[Mapping[str, Any]], **facts: Any
) -> None:
    """Write rows as JSON, with what they were measured on.

    Args:
        path: The file; None for none.
        rows: What was measured.
        **facts: What else to know of the measurement.
    """
    if path is None:
        return
    import torch

    conditions = dict(
        date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        machine=platform.machine(),
        python=platform.python_version(),
        threads=torch.get_num_threads(),
        versions={name: version(name) for name in _PACKAGES},
        **facts,
    )
    report = dict(conditions=conditions, measured=list(rows))
    path.write_text(json.dumps(report, indent=2))
