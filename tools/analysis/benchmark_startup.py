# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How long imports and the start of training take, and whose imports do.

``import ca2st_mm`` and ``import torch`` in turn, the time that each package's
modules take by themselves, and ``tools/train.py`` of the toy model up to its
first iteration (if its data are there: tools/data/make_toy.py)::

    ca2st report benchmark-startup --json startup.json
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

import reports
from common_flags import new_parser, whole

ROOT = reports.TOOLS.parent
CONFIG = ROOT / 'configs/toy/ca2st_toy.py'
IMPORTS = ('torch', 'mmengine.runner', 'ca2st_mm')
LINE = re.compile(r'import time:\s+(\d+) \|\s+\d+ \|\s*(\w+)')
FIRST_ITERATION = re.compile(r'Epoch\(train\)\s+\[1\]\[\s*1/')


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add('--repeats', type=whole, default=5, help='counted starts')
    add('--slowest', type=whole, default=12, help='packages to show')
    add('--json', type=Path, help='where to write all numbers')
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

from ca2st_mm.engine.launch import UsageError, run_or_explain


def slow_imports(count: int) -> dict[str, float]:
    """Seconds that the modules of each package take by themselves."""
    done = subprocess.run(
        [sys.executable, '-X', 'importtime', '-c', 'import ca2st_mm'],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    own = Counter()
    for match in LINE.finditer(done.stderr):
        own[match[2]] += int(match[1]) / 1e6
    return dict(own.most_common(count))


def first_iteration() -> float | None:
    """Seconds until the toy model has trained one batch, or None."""
    if not (ROOT / 'data/toy/classes.txt').exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, 'tools/train.py', str(CONFIG)),
            *('--work-dir', folder, '--cfg-options'),
            'default_hooks.logger.interval=1',
        ]
        start = time.perf_counter()
        with subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            for line in process.stdout:
                if FIRST_ITERATION.search(line):
                    seconds = time.perf_counter() - start
                    process.terminate()
                    return seconds
        raise UsageError('tools/train.py ended before its first iteration')


def main() -> None:
    """Measure, print and write."""
    args = parse_args()
    runs = {name: [] for name in IMPORTS}
    for _ in range(args.repeats):
        for name in IMPORTS:
            start = time.perf_counter()
            command = [sys.executable, '-c', f'import {name}']
            subprocess.run(command, check=True, cwd=ROOT)
            runs[name].append(time.perf_counter() - start)
    rows = [
        dict(what=f'import {name}', wall_s=median(seconds))
        for name, seconds in runs.items()
    ]
    seconds = first_iteration()
    if seconds is None:
        print('no toy data: tools/train.py is left out', file=sys.stderr)
    else:
        rows.append(dict(what='train.py to iteration 1', wall_s=seconds))
    rows += [
        dict(what=f'modules of {package}', wall_s=seconds)
        for package, seconds in slow_imports(args.slowest).items()
    ]
    print(reports.table(rows))
    reports.write(args.json, rows)


if __name__ == '__main__':
    run_or_explain(main)
