# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How long it takes until something happens, and whose imports take it.

``import ca2st_mm`` beside ``import torch`` in turn, the time that each
package's modules take by themselves, and ``tools/train.py`` of the toy model
up to its first iteration (if its data are there: tools/data/make_toy.py)::

    python tools/analysis/benchmark_startup.py --json startup.json
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from measured_models import conditions, table

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/toy/ca2st_toy.py'
LINE = re.compile(r'import time:\s+(\d+) \|\s+\d+ \|\s*(\w+)')
FIRST_ITERATION = re.compile(r'Epoch\(train\)\s+\[1\]\[\s*1/')


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--slowest', type=int, default=12)
    parser.add_argument('--json', type=Path, help='where to write all numbers')
    return parser.parse_args()


def seconds_of(*command: str) -> float:
    """Wall seconds of a Python process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT)
    return time.perf_counter() - start


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
        raise SystemExit('tools/train.py ended before its first iteration')


def main() -> None:
    """Measure, print and write."""
    args = parse_args()
    imports = {name: [] for name in ('torch', 'mmengine.runner', 'ca2st_mm')}
    for _ in range(args.repeats):
        for name, runs in imports.items():
            runs.append(seconds_of('-c', f'import {name}'))
    rows = [
        dict(what=f'import {name}', wall_s=statistics.median(runs))
        for name, runs in imports.items()
    ]
    seconds = first_iteration()
    if seconds is None:
        print('no toy data: tools/train.py is left out', file=sys.stderr)
    else:
        rows.append(dict(what='train.py to iteration 1', wall_s=seconds))
    slow = slow_imports(args.slowest)
    print(table(rows), '\nown import time of packages:', sep='\n')
    print(table([dict(package=k, wall_s=v) for k, v in slow.items()]))
    if args.json:
        report = dict(
            conditions=conditions(), measured=rows, own_import_s=slow
        )
        args.json.write_text(json.dumps(report, indent=2))


if __name__ == '__main__':
    main()
