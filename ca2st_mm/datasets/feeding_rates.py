# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How many samples a second loaders give, measured in turn."""

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

import cv2
from torch.utils.data import DataLoader

from .stage_timing import (
    STAGES,
    TimedClips,
    collate,
    sum_by_stage,
    until_decoded,
    without_value,
)


class Run(NamedTuple):
    """Samples through a loader.

    Attributes:
        samples: How many.
        wall: Seconds from asking for the first to having the last.
        seconds: Seconds by stage, summed over workers.
        cpu: The same of the processor.
    """

    samples: int
    wall: float
    seconds: dict[str, float]
    cpu: dict[str, float]


def run(loader: DataLoader) -> Run:
    """One pass over a loader.

    Args:
        loader: Of :class:`TimedClips`.
    """
    start = time.perf_counter()
    count, seconds, cpu = 0, [], []
    for batch in loader:
        count += len(batch.frame_inds)
        seconds.append(batch.seconds)
        cpu.append(batch.cpu)
    wall = time.perf_counter() - start
    return Run(count, wall, sum_by_stage(seconds), sum_by_stage(cpu))


def alternate(loaders: dict[str, DataLoader], rounds: int) -> Iterator[tuple]:
    """Passes in turn, so that noise of the machine hits all loaders.

    Args:
        loaders: By name; each is passed once to warm up, not counted.
        rounds: Counted passes of each; every other round goes backwards.

    Yields:
        Name and :class:`Run`.
    """
    for loader in loaders.values():
        run(loader)
    for number in range(rounds):
        names = list(loaders)
        for name in names[:: -1 if number % 2 else 1]:
            yield name, run(loaders[name])


def one_thread(_: int) -> None:
    """Workers get one OpenCV thread, as our runtime config gives them."""
    cv2.setNumThreads(0)


def make_loaders(
    clips: list[dict],
    steps: Sequence[Callable],
    workers: int,
    batch_size: int,
    batches: int,
) -> dict[str, DataLoader]:
    """The whole pipeline, and what decodes the same frames and no more.

    ``'video'`` decodes frames, ``'video and sound'`` also the sound where
    the pipeline has some, ``'pipeline'`` is all of it.

    Args:
        clips: As :class:`TimedClips` takes them.
        steps: The whole pipeline.
        workers: Processes of each loader.
        batch_size: Samples of a batch.
        batches: Batches that each worker makes in a pass.
    """
    kinds: dict[str, tuple] = dict(
        video=(until_decoded(steps), without_value),
        pipeline=(steps, collate),
    )
    with_sound = until_decoded(steps, with_sound=True)
    if len(with_sound) > len(kinds['video'][0]):
        kinds['video and sound'] = (with_sound, without_value)
    length = workers * batch_size * batches
    return {
        name: DataLoader(
            TimedClips(clips, part, length),
            batch_size=batch_size,
            num_workers=workers,
            collate_fn=collate_fn,
            worker_init_fn=one_thread,
            persistent_workers=True,
        )
        for name, (part, collate_fn) in kinds.items()
    }


def compare(loaders: dict[str, DataLoader], workers: int, rounds: int) -> dict:
    """What the loaders of :func:`make_loaders` cost, medians of the rounds.

    Args:
        loaders: By name.
        workers: Processes of each.
        rounds: Counted passes of each.

    Returns:
        ``workers``; ``samples``; by loader ``wall_ms`` and ``cpu_ms`` of a
        worker per sample; ``share_of_rate`` and ``share_of_cpu``: for each
        decoder [median, least, largest] of its cost over that of the
        pipeline in the same round; ``stages_ms``, by stage of the pipeline
        ``seconds`` and ``cpu``, in milliseconds per sample.
    """
    runs: dict[str, list[Run]] = {name: [] for name in loaders}
    for name, result in alternate(loaders, rounds):
        runs[name].append(result)
    wall = {
        name: [1000 * workers * r.wall / r.samples for r in some]
        for name, some in runs.items()
    }
    cpu = {
        name: [1000 * sum(r.cpu.values()) / r.samples for r in some]
        for name, some in runs.items()
    }
    stages = {
        stage: {
            kind: median(
                1000 * getattr(r, kind)[stage] / r.samples
                for r in runs['pipeline']
            )
            for kind in ('seconds', 'cpu')
        }
        for stage in STAGES
    }
    total = median(wall['pipeline'])
    known = sum(stage['seconds'] for stage in stages.values())
    stages['hand over and wait'] = dict(seconds=total - known)
    return dict(
        workers=workers,
        samples=sum(r.samples for r in runs['pipeline']),
        wall_ms={name: median(some) for name, some in wall.items()},
        cpu_ms={name: median(some) for name, some in cpu.items()},
        share_of_rate=_shares(wall),
        share_of_cpu=_shares(cpu),
        stages_ms=stages,
    )


def _shares(costs: dict[str, list[float]]) -> dict[str, list[float]]:
    shares = {}
    for name in costs.keys() - {'pipeline'}:
        pairs = zip(costs[name], costs['pipeline'], strict=True)
        rounds = [bare / whole for bare, whole in pairs]
        shares[name] = [median(rounds), min(rounds), max(rounds)]
    return dict(sorted(shares.items()))
