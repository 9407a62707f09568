# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Where the time of a data pipeline goes, and what decoding alone takes."""

import random
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence

import cv2
import numpy as np
import torch
from mmaction.datasets.transforms import (
    DecordDecode,
    DecordInit,
    FormatShape,
    PackActionInputs,
    SampleFrames,
)
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader, Dataset

from ca2st_mm.datasets.transforms import (
    CropAudio,
    DenseSample,
    FrameTimes,
    LibrosaLogMelSpectrogram,
    LoadAudio,
    LogMelSpectrogram,
    MaskSpectrogram,
    SegmentSample,
)

# A step of no kind named here is one that changes pictures.
_KINDS = {
    'open': (DecordInit,),
    'sample': (DenseSample, SegmentSample, SampleFrames),
    'decode video': (DecordDecode,),
    'decode audio': (LoadAudio, CropAudio),
    'mel': (LogMelSpectrogram, LibrosaLogMelSpectrogram, MaskSpectrogram),
    'format and pack': (FormatShape, FrameTimes, PackActionInputs),
}
_PICTURES = 'picture transforms'
STAGES = (
    'open',
    'sample',
    'decode video',
    'decode audio',
    'mel',
    _PICTURES,
    'format and pack',
    'collate',
)


class Timed(NamedTuple):
    """What came out, and what it cost.

    Attributes:
        value: A sample, or a batch of them.
        seconds: Seconds by stage; of a batch, summed over its samples.
        frame_inds: Numbers of the decoded frames, one array a sample.
    """

    value: Any
    seconds: Dict[str, float]
    frame_inds: List[np.ndarray]


def stage_of(step: Callable) -> str:
    """The stage that a transform belongs to.

    Args:
        step: A built transform.
    """
    for stage, kinds in _KINDS.items():
        if isinstance(step, kinds):
            return stage
    return _PICTURES


def until_decoded(steps: Sequence[Callable]) -> List[Callable]:
    """The bare decoder: the steps that open, choose and decode frames.

    Args:
        steps: Transforms of a pipeline.

    Raises:
        ValueError: If none of them decodes pictures.
    """
    for last, step in enumerate(steps):
        if stage_of(step) == 'decode video':
            wanted = ('open', 'sample', 'decode video')
            return [s for s in steps[: last + 1] if stage_of(s) in wanted]
    raise ValueError(
        'The train pipeline decodes no video: name a config whose pipeline '
        'has DecodeVideo.'
    )


class TimedClips(Dataset):
    """Samples through some steps, with the seconds of each stage.

    Args:
        clips: What a dataset hands to a pipeline, one dict a clip.
        steps: Transforms.
        length: Samples of a pass; clips are taken in turn.  Sample ``n``
            makes the same random choices in every dataset and pass.
    """

    def __init__(
        self, clips: List[dict], steps: Sequence[Callable], length: int
    ) -> None:
        self.clips, self.steps, self.length = clips, steps, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Timed:
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        results = dict(self.clips[number % len(self.clips)])
        seconds = dict.fromkeys(STAGES, 0.0)
        inds = None
        for step in self.steps:
            start = time.perf_counter()
            results = step(results)
            stage = stage_of(step)
            seconds[stage] += time.perf_counter() - start
            if stage == 'sample':
                inds = results['frame_inds']
        return Timed(results, seconds, [inds])


def collate(samples: List[Timed]) -> Timed:
    """A batch the way MMEngine's runner makes it by default.

    Args:
        samples: Timed samples.
    """
    start = time.perf_counter()
    batch = pseudo_collate([sample.value for sample in samples])
    spent = time.perf_counter() - start
    seconds = {
        stage: sum(sample.seconds[stage] for sample in samples)
        for stage in STAGES
    }
    seconds['collate'] += spent
    inds = [array for sample in samples for array in sample.frame_inds]
    return Timed(batch, seconds, inds)


def without_value(samples: List[Timed]) -> Timed:
    """The cost of some samples; their frames stay in the worker.

    Args:
        samples: Timed samples.
    """
    return collate([sample._replace(value={}) for sample in samples])


class Run(NamedTuple):
    """Samples through a loader.

    Attributes:
        samples: How many.
        wall: Seconds from asking for the first to having the last.
        seconds: Seconds by stage, summed over workers.
    """

    samples: int
    wall: float
    seconds: Dict[str, float]


def run(loader: DataLoader) -> Run:
    """One pass over a loader.

    Args:
        loader: Of :class:`TimedClips`.
    """
    start = time.perf_counter()
    batches = [(b.seconds, len(b.frame_inds)) for b in loader]
    wall = time.perf_counter() - start
    seconds = {s: sum(batch[s] for batch, _ in batches) for s in STAGES}
    return Run(sum(count for _, count in batches), wall, seconds)


def alternate(loaders: Dict[str, DataLoader], rounds: int) -> Iterator[tuple]:
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
    clips: List[dict],
    steps: Sequence[Callable],
    workers: int,
    batch_size: int,
    batches: int,
) -> Dict[str, DataLoader]:
    """The whole pipeline and the bare decoder on the same frames.

    Args:
        clips: As :class:`TimedClips` takes them.
        steps: The whole pipeline.
        workers: Processes of each loader.
        batch_size: Samples of a batch.
        batches: Batches that each worker makes in a pass.
    """
    kinds = dict(
        decoder=(until_decoded(steps), without_value),
        pipeline=(steps, collate),
    )
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
