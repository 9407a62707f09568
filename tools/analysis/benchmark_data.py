# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How fast a train pipeline feeds a model, and where its time goes.

``ca2st report benchmark-data [CONFIG] --workers 1 2`` prints, for
each number of loader workers, samples a second of the whole
pipeline and of a bare loop of PyAV (open the file, decode the same frames to
RGB, without and with audio), the milliseconds of each stage, and how much the
memory of the workers grew.  All run in turn, so that other work of the machine
slows all alike; numbers are medians of the rounds.  Without ``--videos`` it
writes clips of its own; ``--minutes 60`` reads them out of one long file::

    ca2st report benchmark-data --workers 1 2 --json d.json
"""

import argparse
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import reports
from common_flags import new_parser, positive, whole


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    default = str(reports.TOOLS.parent / 'configs/ca2st/ca2st_k400.py')
    add('config', nargs='?', default=default, help='CA2ST if left out')
    add('--videos', help='folder of clips to read')
    add(
        '--workers',
        type=whole,
        nargs='+',
        default=[1, 2],
        help='numbers of loader processes to try',
    )
    add('--batch-size', type=whole, default=8, help='clips of a batch')
    add('--batches', type=whole, default=2, help='of a worker and round')
    add('--rounds', type=whole, default=6, help='counted passes')
    add('--clips', type=whole, default=4, help='clips to write')
    add('--seconds', type=positive, default=10.0, help='of a clip to write')
    add(
        '--size',
        type=whole,
        nargs=2,
        default=(340, 256),
        help='pixels of a clip to write, width and height',
    )
    add('--minutes', type=positive, help='of one file that holds the clips')
    add('--json', type=Path, help='where to write all numbers')
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import av
import cv2
import imageio_ffmpeg
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader, Dataset

from ca2st_mm.datasets.containers import (
    NO_VIDEO,
    VIDEO_EXTENSIONS,
    files_below,
)
from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.engine.launch import UsageError, read_config, run_or_explain
from ca2st_mm.utils.building import building

_FPS, _RATE = 30, 44100

# Stage of each transform; others change frames.
STAGES = {
    'BareDecoder': 'bare',
    'OpenVideo': 'open',
    'DenseSample': 'sample',
    'SegmentSample': 'sample',
    'DecodeVideo': 'decode video',
    'LoadAudio': 'decode audio',
    'CropAudio': 'decode audio',
    'LogMelSpectrogram': 'mel',
    'LibrosaLogMelSpectrogram': 'mel',
    'MaskSpectrogram': 'mel',
    'FormatShape': 'pack',
    'FrameTimes': 'pack',
    'PackActionInputs': 'pack',
    'PackAudioVisual': 'pack',
}


class Timed(NamedTuple):
    """A sample or a batch, and what it cost, summed over samples."""

    value: Any
    wall: Counter  # seconds by stage
    cpu: Counter
    frame_inds: list[np.ndarray]  # of the decoded frames, one array a sample
    memory: dict[int, int]  # resident bytes by process


def stage_of(step: Callable) -> str:
    """The stage that a transform belongs to."""
    return STAGES.get(type(step).__name__, 'change frames')


class BareDecoder:
    """Decode frames that are known, with PyAV and nothing else.

    Args:
        audio: Whether to decode the audio of the clip as well.
    """

    def __init__(self, audio: bool) -> None:
        self.audio = audio

    def __call__(self, results: dict) -> dict:
        """Add ``imgs`` and ``waveform``, of the ``seconds`` of frames."""
        start, end = results.get('clip_start'), results.get('clip_end')
        with av.open(results['filename']) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            unit = float(stream.time_base)
            wanted = {round(second / unit) for second in results['seconds']}
            imgs, last = [], max(wanted)
            container.seek(min(wanted), stream=stream)
            for frame in container.decode(stream):
                if frame.pts in wanted:
                    imgs.append(frame.to_ndarray(format='rgb24'))
                if frame.pts == last:
                    break
            pieces = []
            if self.audio:
                stream = container.streams.audio[0]
                first = round((start or 0) / stream.time_base)
                container.seek(first, stream=stream)
                for piece in container.decode(stream):
                    if end is not None and piece.time > end:
                        break
                    pieces.append(piece.to_ndarray().mean(0))
        waveform = np.concatenate(pieces) if pieces else None
        return dict(results, imgs=imgs, waveform=waveform)


class TimedClips(Dataset):
    """Samples through some steps, with the cost of each stage.

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
        wall, cpu, inds = Counter(), Counter(), None
        for step in self.steps:
            start, cpu_start = time.perf_counter(), time.process_time()
            results = step(results)
            wall[stage_of(step)] += time.perf_counter() - start
            cpu[stage_of(step)] += time.process_time() - cpu_start
            inds = results.get('frame_inds', inds)
        with open('/proc/self/statm', encoding='ascii') as file:
            pages = int(file.read().split()[1])  # resident (Linux)
        memory = {os.getpid(): pages * os.sysconf('SC_PAGE_SIZE')}
        return Timed(results, wall, cpu, [inds], memory)


def drawn(clips: list[dict], steps: Sequence[Callable], length: int) -> list:
    """What :class:`BareDecoder` needs to read what the pipeline will.

    Raises:
        UsageError: If no step decodes video.
    """
    stages = [stage_of(step) for step in steps]
    if 'decode video' not in stages:
        raise UsageError(
            'the train pipeline decodes no video; name a config whose '
            'pipeline has DecodeVideo'
        )
    found = []
    first = TimedClips(clips, steps[: stages.index('decode video')], length)
    for number in range(length):
        results = first[number].value
        results.pop('video_reader').close()
        stamps, inds = results.pop('frame_times'), results['frame_inds']
        found.append(dict(results, seconds=stamps[inds]))
    return found


def collate(samples: list[Timed], whole: bool) -> Timed:
    """A batch the way MMEngine's runner makes it by default.

    If it is not whole, frames stay in the worker.
    """
    start, cpu_start = time.perf_counter(), time.process_time()
    values = [sample.value if whole else {} for sample in samples]
    batch = pseudo_collate(values)
    wall = sum((sample.wall for sample in samples), Counter())
    cpu = sum((sample.cpu for sample in samples), Counter())
    wall['collate'] = time.perf_counter() - start
    cpu['collate'] = time.process_time() - cpu_start
    inds = [array for sample in samples for array in sample.frame_inds]
    return Timed(batch, wall, cpu, inds, samples[-1].memory)


def make_loaders(
    clips: list[dict],
    steps: Sequence[Callable],
    workers: int,
    batch_size: int,
    batches: int,
) -> dict[str, DataLoader]:
    """The whole pipeline, and bare loops that decode the same frames."""
    length = workers * batch_size * batches
    known = drawn(clips, steps, length)
    kinds = {'video': (known, [BareDecoder(audio=False)])}
    if any(stage_of(step) == 'decode audio' for step in steps):
        kinds['video and audio'] = known, [BareDecoder(audio=True)]
    kinds['pipeline'] = clips, steps
    return {
        name: DataLoader(
            TimedClips(some, part, length),
            batch_size=batch_size,
            num_workers=workers,
            collate_fn=partial(collate, whole=name == 'pipeline'),
            # One OpenCV thread, as our runtime config gives workers.
            worker_init_fn=lambda _: cv2.setNumThreads(0),
            persistent_workers=True,
        )
        for name, (some, part) in kinds.items()
    }


def run(loader: DataLoader) -> dict[str, Any]:
    """One pass over a loader of :class:`TimedClips`.

    Returns:
        Of a sample in a worker: ``wall_ms`` from the request of the first to
        the arrival of the last, ``cpu_ms``, and wall and CPU milliseconds by
        stage (``stages``); and ``memory``, resident bytes by worker.
    """
    start = time.perf_counter()
    batches = [batch._replace(value=None) for batch in loader]
    seconds = time.perf_counter() - start
    count = sum(len(batch.frame_inds) for batch in batches)
    wall = sum((batch.wall for batch in batches), Counter())
    cpu = sum((batch.cpu for batch in batches), Counter())
    return dict(
        wall_ms=1000 * loader.num_workers * seconds / count,
        cpu_ms=1000 * cpu.total() / count,
        stages={
            s: (1000 * wall[s] / count, 1000 * cpu[s] / count) for s in wall
        },
        memory={pid: m for b in batches for pid, m in b.memory.items()},
    )


def compare(
    loaders: Mapping[str, DataLoader], rounds: int
) -> tuple[list[dict], list[dict]]:
    """What the loaders of :func:`make_loaders` cost, medians of the rounds.

    Each is passed once to warm up; every other round goes backwards.

    Returns:
        For each loader ``samples_s``, ``wall_ms`` and ``cpu_ms`` of a worker
        per sample, ``share`` (median, least and largest part of the CPU time
        of the whole pipeline in the same round) and ``growth_mb`` of its
        workers' memory after the first round; and by stage of the pipeline
        wall and CPU milliseconds of a sample.
    """
    for loader in loaders.values():
        run(loader)
    passes: dict[str, list[dict]] = {name: [] for name in loaders}
    for number in range(rounds):
        for name in list(loaders)[:: -1 if number % 2 else 1]:
            passes[name].append(run(loaders[name]))
    whole = passes['pipeline']
    rows = []
    for name, some in passes.items():
        shares = [
            one['cpu_ms'] / other['cpu_ms']
            for one, other in zip(some, whole, strict=True)
        ]
        first, last = some[0]['memory'], some[-1]['memory']
        wall = median(one['wall_ms'] for one in some)
        rows.append(
            dict(
                loader=name,
                samples_s=1000 * loaders[name].num_workers / wall,
                wall_ms=wall,
                cpu_ms=median(one['cpu_ms'] for one in some),
                share=median(shares),
                share_least=min(shares),
                share_largest=max(shares),
                growth_mb=sum(last[pid] - first[pid] for pid in last) / 1e6,
            )
        )
    stages = []
    for stage in whole[0]['stages']:
        wall, cpu = np.median([one['stages'][stage] for one in whole], axis=0)
        stages.append(dict(stage=stage, wall_ms=wall, cpu_ms=cpu))
    return rows, stages


def write_video(path: Path, number: int, args: argparse.Namespace) -> None:
    """A camera that pans over a coarse scene, with grain and audio."""
    rng = np.random.default_rng(number)
    count, (width, height) = round(args.seconds * _FPS), args.size
    coarse = rng.integers(0, 255, (height // 8, width // 4, 3), np.uint8)
    scene = cv2.resize(
        coarse, (width + 2 * count, height), interpolation=cv2.INTER_CUBIC
    )
    grain = rng.integers(0, 8, (height, width, 3), np.uint8)
    frames = [
        np.roll(grain, 7 * n, axis=1) + scene[:, 2 * n : 2 * n + width] // 2
        for n in range(count)
    ]
    waveform = rng.normal(0, 0.1, round(args.seconds * _RATE))
    write_clip(
        str(path), np.stack(frames), _FPS, waveform.astype(np.float32), _RATE
    )


def make_clips(folder: Path, args: argparse.Namespace) -> list[dict]:
    """Files and spans to read; files may be written into the folder.

    Raises:
        UsageError: If ``--videos`` holds no video.
    """
    common = dict(label=0, modality='RGB')
    if args.videos is None:
        for number in range(args.clips):
            write_video(folder / f'{number}.mp4', number, args)
    found = files_below(args.videos or str(folder), VIDEO_EXTENSIONS)
    if not found:
        raise UsageError(f'--videos {args.videos}: {NO_VIDEO}')
    if not args.minutes:
        return [dict(filename=path, **common) for path in found]
    long, total = str(folder / 'long.mp4'), 60 * args.minutes
    ffmpeg = shutil.which('ffmpeg') or imageio_ffmpeg.get_ffmpeg_exe()
    command = [ffmpeg, '-v', 'error', '-stream_loop', '-1', '-i', found[0]]
    command += ['-t', str(total), '-c', 'copy', long]
    subprocess.run(command, check=True)
    latest = total - args.seconds
    starts = np.random.default_rng(1).uniform(0, latest, args.clips)
    return [
        dict(filename=long, clip_start=s, clip_end=s + args.seconds, **common)
        for s in starts.round(2).tolist()
    ]


def main() -> None:
    """Measure, print, write."""
    args = parse_args()
    init_default_scope('mmaction')
    cfg = read_config(args.config, whole=False)
    if 'train_dataloader' not in cfg:
        raise UsageError(f'{args.config} has no train_dataloader')
    with building(cfg):
        steps = Compose(cfg.train_dataloader.dataset.pipeline).transforms
    rows, stages = [], []
    with tempfile.TemporaryDirectory() as folder:
        clips = make_clips(Path(folder), args)
        for workers in args.workers:
            loaders = make_loaders(
                clips, steps, workers, args.batch_size, args.batches
            )
            found, costs = compare(loaders, args.rounds)
            rows += [dict(workers=workers) | row for row in found]
            stages += [dict(workers=workers) | row for row in costs]
    print(reports.table(rows), '\n', reports.table(stages), sep='\n')
    reports.write(args.json, rows, stages=stages, config=args.config)


if __name__ == '__main__':
    run_or_explain(main)
