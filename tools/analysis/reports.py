# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How the benchmarks of this folder print and write what they measure."""

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ('av', 'ca2st_mm', 'mmaction2', 'numpy', 'opencv-python', 'torch')


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
