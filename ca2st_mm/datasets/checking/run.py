# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Probing all samples with several workers, so that it can be resumed."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from .probe import Limits, Probe, probe_sample
from .samples import Sample

_AT_ONCE = 8  # samples handed to each worker ahead of time


def probe_all(
    samples: Sequence[Sample], limits: Limits, num_workers: int, notes: str
) -> Iterator[tuple[int, Probe]]:
    """Probe samples in any order.

    What was found is noted at once, and taken from the notes when a file
    has not changed since.  Samples with the same files and span are probed
    once.

    Args:
        samples: The rows.
        limits: What is tolerated.
        num_workers: Threads.
        notes: Path of the notes, a file of JSON lines.

    Yields:
        Number of the sample and what was found.
    """
    waiting: dict[str, list[int]] = {}
    for number, sample in enumerate(samples):
        waiting.setdefault(_key(sample, limits), []).append(number)
    for key, probe in _read_notes(notes):
        for number in waiting.pop(key, ()):
            yield number, probe
    with open(notes, 'a', encoding='utf-8') as file:
        file.write('\n')  # ends a line that a crash has cut off
        for key, probe in _probe_missing(
            samples, waiting, limits, num_workers
        ):
            file.write(json.dumps([key, probe._asdict()]) + '\n')
            file.flush()
            for number in waiting[key]:
                yield number, probe


def _probe_missing(
    samples: Sequence[Sample],
    waiting: dict[str, list[int]],
    limits: Limits,
    num_workers: int,
) -> Iterator[tuple[str, Probe]]:
    """Probe with a pool, a bounded number of samples at a time."""
    keys = list(waiting)
    # Threads: FFmpeg, numpy and OpenCV work outside of Python's lock.
    with ThreadPoolExecutor(num_workers) as pool:
        for first in range(0, len(keys), _AT_ONCE * num_workers):
            part = keys[first : first + _AT_ONCE * num_workers]
            jobs = {
                pool.submit(
                    probe_sample, samples[waiting[key][0]], limits
                ): key
                for key in part
            }
            for job in as_completed(jobs):
                yield jobs[job], job.result()


def _key(sample: Sample, limits: Limits) -> str:
    """A name for the files as they are now, the span and the limits."""
    facts = [sample.path, sample.audio, sample.start, sample.end, *limits]
    for path in filter(None, (sample.path, sample.audio)):
        if os.path.isfile(path):
            stat = os.stat(path)
            facts += [stat.st_size, stat.st_mtime_ns]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _read_notes(notes: str) -> Iterator[tuple[str, Probe]]:
    """What earlier runs found; a line cut off by a crash is left out."""
    if not os.path.exists(notes):
        return
    with open(notes, encoding='utf-8') as file:
        for line in file:
            try:
                key, fields = json.loads(line)
            except json.JSONDecodeError:
                continue
            yield key, Probe(**fields)
