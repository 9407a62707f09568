# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Does opening and sampling videos over and over eat memory?

``python tools/analysis/benchmark_readers.py CLIP... --cycles 2000`` prints,
for each reader and each number of workers, milliseconds a cycle and how much
the resident memory of the decoding processes grew after a warm-up.
"""

import argparse
import json
import os
import time

import numpy as np
from torch.utils.data import DataLoader, Dataset

import ca2st_mm  # noqa: F401
from ca2st_mm.datasets.transforms import (
    DecodeVideo,
    FrameTimes,
    OpenVideo,
    SegmentSample,
)

_WARM_UP = 0.1  # of the cycles: pools and caches fill up once


class Cycles(Dataset):
    """Open, sample and decode; tells process, resident bytes and number."""

    def __init__(self, paths: list[str], reader: str, cycles: int) -> None:
        self.paths, self.cycles = paths, cycles
        self.steps = (
            OpenVideo(reader=reader),
            SegmentSample(8),
            DecodeVideo(),
            FrameTimes(),
        )

    def __len__(self) -> int:
        return self.cycles

    def __getitem__(self, index: int) -> tuple:
        results = dict(filename=self.paths[index % len(self.paths)])
        for step in self.steps:
            results = step(results)
        return os.getpid(), resident_bytes()


def resident_bytes() -> int:
    """Resident memory of this process (Linux)."""
    with open('/proc/self/statm', encoding='ascii') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def measure(paths: list[str], reader: str, cycles: int, workers: int) -> dict:
    """Milliseconds a cycle and growth of memory.

    Args:
        paths: Clips, taken in turn.
        reader: Name of the reader.
        cycles: How often a clip is opened, all workers together.
        workers: Loader processes; 0 for this one.
    """
    loader = DataLoader(
        Cycles(paths, reader, cycles), batch_size=None, num_workers=workers
    )
    start = time.perf_counter()
    seen: dict[int, list[int]] = {}
    for process, size in loader:
        seen.setdefault(process, []).append(size)
    seconds = time.perf_counter() - start
    growth = [
        max(sizes[int(_WARM_UP * len(sizes)) :])
        - sizes[int(_WARM_UP * len(sizes))]
        for sizes in seen.values()
    ]
    return dict(
        reader=reader,
        workers=workers,
        cycles=cycles,
        ms_per_cycle=round(1000 * seconds / cycles, 2),
        growth_mb=round(float(np.sum(growth)) / 1e6, 1),
        worst_process_mb=round(float(np.max(growth)) / 1e6, 1),
    )


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('clips', nargs='+')
    parser.add_argument('--cycles', type=int, default=2000)
    parser.add_argument('--readers', nargs='+', default=['decord', 'pyav'])
    parser.add_argument('--workers', nargs='+', type=int, default=[0, 4])
    parser.add_argument('--json', help='also write the numbers here')
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    args = parse_args()
    rows = []
    for reader in args.readers:
        for workers in args.workers:
            rows.append(measure(args.clips, reader, args.cycles, workers))
            print(json.dumps(rows[-1]), flush=True)
    if args.json:
        with open(args.json, 'w', encoding='utf-8') as file:
            json.dump(rows, file, indent=2)


if __name__ == '__main__':
    main()
