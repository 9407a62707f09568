# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Curves of training runs, from the logs in their work folders.

::

    ca2st plot curves work_dirs/cast CA2ST=work_dirs/ca2st
    ca2st plot curves work_dirs/cast --key grad_norm --key loss
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from figure_tool import figure_parser, write


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = figure_parser(__doc__, 'file (default: in the first work folder)')
    add = parser.add_argument
    add(
        'runs',
        nargs='+',
        metavar='NAME=FOLDER',
        help='work folder of a run, or its scalars.json',
    )
    add(
        '--key',
        action='append',
        help='what to draw, as it is logged; may be repeated (default: '
        'loss, top-1 accuracies, learning rate)',
    )
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from result_files import named_files

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.visualization.style import (
    GREY,
    FigureInputError,
    colour_of,
    new_figure,
    tidy,
)

_COLUMNS = 3
# Keys that say where a row stands, not what was measured.
_PLACES = ('epoch', 'iter', 'step')


@dataclass
class RunLog:
    """Everything a run has logged; a resumed run is one.

    Points are (iteration, value), of validation (epoch or iteration, value).
    """

    training: dict[str, list[tuple]] = field(default_factory=dict)
    validation: dict[str, list[tuple]] = field(default_factory=dict)
    epochs: bool = False  # whether validation is counted in epochs
    missing: list[int] = field(default_factory=list)  # epochs without a line


def read_run(path: str | Path) -> RunLog:
    """Read the log of a run: its work folder, or one scalars.json.

    Where a later start repeats iterations (it was resumed from an older
    checkpoint, or began anew) the later lines count.

    Raises:
        FigureInputError: If there is no log or a line is damaged.
    """
    path = Path(path)
    files = [path]
    if not path.is_file():
        files = sorted(path.glob('*/vis_data/scalars.json'))
        files += path.glob('vis_data/scalars.json')
    if not files:
        raise FigureInputError(
            f'{path} holds no training log (*/vis_data/scalars.json); give '
            'the work folder of a training'
        )
    rows: list[dict] = []
    for file in files:
        own = _rows(file)
        if first := next((row for row in own if 'iter' in row), None):
            epoch = first.get('epoch', first['iter'])
            rows = [
                row
                for row in rows
                if row.get('iter', row.get('step'))
                < (first['iter'] if 'iter' in row else epoch)
            ]
            rows += [row for row in own if 'iter' in row or 'step' in row]
    training = [row for row in rows if 'iter' in row]
    if not training:
        raise FigureInputError(f'{path} has no line of training in its log')
    log = RunLog(epochs='epoch' in training[0])
    for row in rows:
        trained = 'iter' in row
        into = log.training if trained else log.validation
        place = row['iter' if trained else 'step']
        for key, value in row.items():
            if key not in _PLACES and isinstance(value, (int, float)):
                into.setdefault(key, []).append((place, value))
    if log.epochs:
        known = {row['epoch'] for row in training}
        log.missing = sorted(set(range(1, max(known) + 1)) - known)
    return log


def _rows(file: Path) -> list[dict]:
    rows = []
    lines = file.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            # An interrupted run may leave an incomplete last line.
            if number < len(lines):
                raise FigureInputError(
                    f'{file}, line {number} is no JSON; take the line out'
                ) from error
    return rows


def usual_keys(runs: Mapping[str, RunLog]) -> list[str]:
    """Loss, the top-1 accuracies of validation, and the learning rate."""
    trained = {key for log in runs.values() for key in log.training}
    tested = {key for log in runs.values() for key in log.validation}
    accuracies = sorted(key for key in tested if key.endswith('top1'))
    keys = ['loss', *accuracies, 'lr']
    return [key for key in keys if key in trained | tested]


def draw_curves(
    runs: Mapping[str, RunLog], keys: Sequence[str] | None = None
) -> Figure:
    """A panel for each key, a line for each run.

    Training runs along iterations, validation along epochs (a line for each
    as they were logged).  A line is broken where epochs are missing.

    Raises:
        FigureInputError: If no run has logged a key.
    """
    keys = list(keys or usual_keys(runs))
    columns = min(len(keys), _COLUMNS) or 1
    rows = -(-len(keys) // _COLUMNS) or 1
    figure = new_figure(3.9 * columns, 0.6 + 3 * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, key in zip(panels, keys, strict=False):
        _panel(axes, key, runs)
    for axes in panels[len(keys) :]:
        axes.remove()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc='outside upper center',
        ncols=min(len(labels), 4 if columns > 1 else 2),
        frameon=False,
    )
    return figure


def _panel(axes: Axes, key: str, runs: Mapping[str, RunLog]) -> None:
    unit = kind = None
    for number, (name, log) in enumerate(runs.items()):
        style = dict(color=colour_of(number), label=name)
        # Times are logged for both; those of training are the ones wanted.
        if key in log.training:
            unit, kind = 'iteration', 'training'
            axes.plot(*_broken(log, key).T, lw=1.3, **style)
        elif key in log.validation:
            unit = 'epoch' if log.epochs else 'iteration'
            kind = 'validation'
            points = np.array(log.validation[key], dtype=float)
            axes.plot(*points.T, 'o-', ms=4, **style)
        else:
            axes.plot([], [], **style)
    if unit is None:
        known = {
            k for log in runs.values() for k in (log.training | log.validation)
        }
        raise FigureInputError(
            f'no run has logged {key!r}; they have {", ".join(sorted(known))}'
        )
    tidy(axes, unit, f'{key} ({kind})')
    axes.set_xlim(left=0)
    axes.grid(color=GREY, lw=0.5)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if 'acc' in key:
        axes.yaxis.set_major_formatter(PercentFormatter(1, None, ' %'))
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.008))
    if key == 'lr':
        axes.ticklabel_format(axis='y', scilimits=(-2, 3))


def _broken(log: RunLog, key: str) -> np.ndarray:
    """Points of a line, with a gap after every jump over missing epochs."""
    points = np.array(log.training[key], dtype=float)
    if not log.missing:
        return points
    steps = np.diff(points[:, 0])
    gaps = np.flatnonzero(steps > 1.5 * np.median(steps)) + 1
    return np.insert(points, gaps, np.nan, axis=0)


def main() -> None:
    """Read and draw as the arguments say."""
    args = parse_args()
    paths = named_files(args.runs)
    runs = {name: read_run(path) for name, path in paths.items()}
    for name, log in runs.items():
        if log.missing:
            epochs = ', '.join(map(str, log.missing))
            print(
                f'warning: the log of {name} has no line of the epochs '
                f'{epochs}; the curve is broken there',
                file=sys.stderr,
            )
    first = next(iter(paths.values()))
    write(draw_curves(runs, args.key), args.out, first, 'curves.png')


if __name__ == '__main__':
    run_or_explain(main)
