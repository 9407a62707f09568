# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What MMEngine logs while it trains: ``vis_data/scalars.json``."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from .style import FigureInputError

# Keys that say where a row stands, not what was measured.
_PLACES = ('epoch', 'iter', 'step')


@dataclass
class RunLog:
    """Everything a run has logged; a resumed run is one.

    Attributes:
        training: By key: (iteration, value), in order.
        validation: By key: (epoch or iteration, value), in order.
        epochs: Whether validation is counted in epochs.
        missing: Epochs without a line of training.
    """

    training: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    validation: dict[str, list[tuple[int, float]]] = field(
        default_factory=dict
    )
    epochs: bool = False
    missing: list[int] = field(default_factory=list)


def read_run(path: str | Path) -> RunLog:
    """Read a run.

    Where a later start repeats iterations (it was resumed from an older
    checkpoint, or began anew) the later lines count.

    Args:
        path: The run's work folder, or one scalars.json.

    Raises:
        FigureInputError: If there is no log or a line is damaged.
    """
    path = Path(path)
    found = [path] if path.is_file() else sorted(_logs_in(path))
    if not found:
        raise FigureInputError(
            f'{path} holds no training log (*/vis_data/scalars.json); give '
            'the work folder of tools/train.py'
        )
    training: list[dict] = []
    validation: list[dict] = []
    for file in found:
        rows = _rows(file)
        trained = [row for row in rows if 'iter' in row]
        if not trained:
            continue
        tested = [row for row in rows if 'iter' not in row and 'step' in row]
        first = trained[0]['iter']
        epoch = trained[0].get('epoch', first)
        training = [row for row in training if row['iter'] < first]
        validation = [row for row in validation if row['step'] < epoch]
        training += trained
        validation += tested
    if not training:
        raise FigureInputError(f'{path} has no line of training in its log')
    log = RunLog(epochs='epoch' in training[0])
    _collect(log.training, training, 'iter')
    _collect(log.validation, validation, 'step')
    if log.epochs:
        known = {row['epoch'] for row in training}
        log.missing = sorted(set(range(1, max(known) + 1)) - known)
    return log


def _logs_in(folder: Path) -> list[Path]:
    return [
        *folder.glob('*/vis_data/scalars.json'),
        *folder.glob('vis_data/scalars.json'),
    ]


def _rows(file: Path) -> list[dict]:
    rows = []
    lines = file.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            # A killed run may leave half a line at the end.
            if number == len(lines):
                continue
            raise FigureInputError(
                f'{file}, line {number} is no JSON; take the line out'
            ) from error
        rows.append(row)
    return rows


def _collect(into: dict, rows: list[dict], place: str) -> None:
    for row in rows:
        for key, value in row.items():
            if key not in _PLACES and isinstance(value, (int, float)):
                into.setdefault(key, []).append((row[place], value))
