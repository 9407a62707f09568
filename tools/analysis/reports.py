# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How the tools of this folder are called, and print and write reports."""

import argparse
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Reports read what the figures are drawn from, with the same code.
TOOLS = Path(__file__).resolve().parents[1]
sys.path += [str(TOOLS), str(TOOLS / 'visualize')]

from common_flags import add_cfg_options, new_parser, whole

_PACKAGES = ('av', 'ca2st_mm', 'mmaction2', 'numpy', 'opencv-python', 'torch')


def clips_parser(description: str) -> argparse.ArgumentParser:
    """The flags of a report of a model on clips of a data set."""
    parser = new_parser(description)
    add = parser.add_argument
    add('config', help='config of a model')
    add('checkpoint', help='its weights')
    add('--max-clips', type=whole, help='number of clips, drawn at random')
    add('--seed', type=int, default=0, help='of all that is random')
    add('--batch-size', type=whole, default=8, help='clips at once')
    add('--workers', type=int, default=2, help='processes that read clips')
    add('--device', help='the best there is if left out')
    add_cfg_options(parser)
    add(
        '--out',
        help='outputs without extension; next to the checkpoint if left out, '
        'or in work_dirs/CONFIG if it is not on this disk',
    )
    return parser


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a text table; columns may differ, numbers get three digits."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns]
    for row in rows:
        values = (row.get(column, '-') for column in columns)
        cells.append(
            [f'{v:.3g}' if isinstance(v, float) else str(v) for v in values]
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return '\n'.join(
        '  '.join(map(str.ljust, line, widths)).rstrip() for line in cells
    )


def write(
    path: Path | None, rows: Sequence[Mapping[str, Any]], **facts: Any
) -> None:
    """Write rows as JSON, with facts about the machine; None writes none."""
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
