# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Numbers of the CAST paper (arXiv 2311.18825, Table 2), never of ours.

Per cent; cost in G multiply-accumulates of one view, the lowest of each
method over the data sets.  CLIP, VideoMAE (action) and AIM (action) were run
by the authors of CAST, the rest is as they cite it.  A figure that shows them
must call them the authors'.
"""

import csv
from collections.abc import Sequence
from importlib.resources import files

COLUMNS = ('verb', 'noun', 'action', 'ssv2', 'k400')
COST = 'gmac_per_view'


def published(columns: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Methods for which all of the columns are published.

    Args:
        columns: Of ``COLUMNS``, or ``COST``.
    """
    table = files(__package__).joinpath('published_cast.csv')
    rows = csv.DictReader(table.read_text(encoding='utf-8').splitlines())
    return {
        row['method']: tuple(float(row[column]) for column in columns)
        for row in rows
        if all(row[column] for column in columns)
    }
