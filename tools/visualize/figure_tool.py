# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How the tools of this folder are called, and where figures go."""

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common_flags import new_parser, whole  # noqa: F401

# Columns of published_cast.csv.
PUBLISHED = 'verb', 'noun', 'action', 'ssv2', 'k400'


def figure_parser(
    description: str, out: str = 'file (default: next to the first input)'
) -> argparse.ArgumentParser:
    """A parser with ``--out``."""
    parser = new_parser(description)
    parser.add_argument('--out', help=f'where to write: {out}')
    return parser


def write(figure: Any, out: str | None, source: str, name: str) -> None:
    """Write a figure to ``out``, else by its name next to a file or into it.

    Args:
        figure: Of matplotlib.
        out: What ``--out`` says.
        source: The file it is drawn from, or a folder; may be empty.
        name: With extension.
    """
    from ca2st_mm.visualization.style import save

    place = Path(source)
    path = out or (place if place.is_dir() else place.parent) / name
    save(figure, path)
    print(path)


def write_csv(
    path: str | None, columns: Sequence[str], rows: Iterable[Sequence]
) -> None:
    """Write what ``--csv`` asks for; None writes nothing."""
    if path is not None:
        with open(path, 'w', newline='', encoding='utf-8') as file:
            csv.writer(file).writerows([columns, *rows])
        print(path)
