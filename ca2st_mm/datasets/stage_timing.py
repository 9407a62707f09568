# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Where the time of a data pipeline goes, and what decoding alone takes."""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import (
    Any,
    NamedTuple,
)

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
from torch.utils.data import Dataset

from .transforms import (
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
        cpu: Seconds of the processor by stage, all threads of the worker.
        frame_inds: Numbers of the decoded frames, one array a sample.
    """

    value: Any
    seconds: dict[str, float]
    cpu: dict[str, float]
    frame_inds: list[np.ndarray]


def stage_of(step: Callable) -> str:
    """The stage that a transform belongs to.

    Args:
        step: A built transform.
    """
    for stage, kinds in _KINDS.items():
        if isinstance(step, kinds):
            return stage
    return _PICTURES


def until_decoded(
    steps: Sequence[Callable], with_sound: bool = False
) -> list[Callable]:
    """The bare decoder: the steps that open, choose and decode frames.

    Args:
        steps: Transforms of a pipeline.
        with_sound: Add the step that decodes sound.

    Raises:
        ValueError: If none of them decodes pictures.
    """
    wanted = ['open', 'sample', 'decode video']
    if wanted[-1] not in map(stage_of, steps):
        raise ValueError(
            'The train pipeline decodes no video: name a config whose '
            'pipeline has DecodeVideo.'
        )
    if with_sound:
        wanted.append('decode audio')
    return [step for step in steps if stage_of(step) in wanted]


class TimedClips(Dataset):
    """Samples through some steps, with the seconds of each stage.

    Args:
        clips: What a dataset hands to a pipeline, one dict a clip.
        steps: Transforms.
        length: Samples of a pass; clips are taken in turn.  Sample ``n``
            makes the same random choices in every dataset and pass.
    """

    def __init__(
        self, clips: list[dict], steps: Sequence[Callable], length: int
    ) -> None:
        self.clips, self.steps, self.length = clips, steps, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Timed:
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        results = dict(self.clips[number % len(self.clips)])
        seconds, cpu = (dict.fromkeys(STAGES, 0.0) for _ in range(2))
        inds = None
        for step in self.steps:
            start, start_cpu = time.perf_counter(), time.process_time()
            results = step(results)
            stage = stage_of(step)
            cpu[stage] += time.process_time() - start_cpu
            seconds[stage] += time.perf_counter() - start
            if stage == 'sample':
                inds = results['frame_inds']
        return Timed(results, seconds, cpu, [inds])


def collate(samples: list[Timed]) -> Timed:
    """A batch the way MMEngine's runner makes it by default.

    Args:
        samples: Timed samples.
    """
    start, start_cpu = time.perf_counter(), time.process_time()
    batch = pseudo_collate([sample.value for sample in samples])
    cpu = sum_by_stage(sample.cpu for sample in samples)
    cpu['collate'] += time.process_time() - start_cpu
    seconds = sum_by_stage(sample.seconds for sample in samples)
    seconds['collate'] += time.perf_counter() - start
    inds = [array for sample in samples for array in sample.frame_inds]
    return Timed(batch, seconds, cpu, inds)


def sum_by_stage(costs: Iterable[dict[str, float]]) -> dict[str, float]:
    """The sum of some costs, stage by stage.

    Args:
        costs: Seconds by stage.
    """
    costs = list(costs)
    return {stage: sum(cost[stage] for cost in costs) for stage in STAGES}


def without_value(samples: list[Timed]) -> Timed:
    """The cost of some samples; their frames stay in the worker.

    Args:
        samples: Timed samples.
    """
    return collate([sample._replace(value={}) for sample in samples])
