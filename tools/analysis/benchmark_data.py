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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import reports
from mmengine.config import Config

_ROOT = Path(__file__).resolve().parents[2]
_DEFAULT = _ROOT / 'configs/ca2st/ca2st_k400.py'


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        'config', nargs='?', type=Path, default=_DEFAULT, help='a data config'
    )
    parser.add_argument('--videos', type=Path, help='folder of clips to read')
    parser.add_argument(
        '--workers',
        type=int,
        nargs='+',
        default=[1, 2],
        help='numbers of loader processes to try; default: 1 2',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=8,
        help='clips of a batch; default: 8',
    )
    parser.add_argument(
        '--batches', type=int, default=2, help='of a worker and round'
    )
    parser.add_argument(
        '--rounds',
        type=int,
        default=6,
        help='counted passes, of which the medians are shown; default: 6',
    )
    parser.add_argument('--clips', type=int, default=4, help='to write')
    parser.add_argument(
        '--seconds',
        type=float,
        default=10.0,
        help='seconds of a clip to write; default: 10',
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=(340, 256),
        help='pixels of a clip to write, width and height; default: 340 256',
    )
    parser.add_argument(
        '--minutes', type=float, help='of one long file that holds the clips'
    )
    parser.add_argument('--json', type=Path, help='where to write all numbers')
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

import ca2st_mm  # noqa: F401  (patches and registers)
from ca2st_mm.datasets.containers import (
    NO_VIDEO,
    VIDEO_EXTENSIONS,
    files_below,
)
from ca2st_mm.datasets.media_writer import write_clip

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
_OTHER, _COLLATE = 'change frames', 'collate'

# Wall and CPU seconds by stage.
Costs = dict[str, np.ndarray]


class Timed(NamedTuple):
    """A sample or a batch, and what it cost.

    Attributes:
        value: What came out.
        costs: Wall and CPU seconds by stage, summed over samples.
        frame_inds: Numbers of the decoded frames, one array a sample.
        memory: Resident bytes by process.
    """

    value: Any
    costs: Costs
    frame_inds: list[np.ndarray]
    memory: dict[int, int]


def stage_of(step: Callable) -> str:
    """The stage that a transform belongs to."""
    return STAGES.get(type(step).__name__, _OTHER)


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


def drawn(clips: list[dict], steps: Sequence[Callable], length: int) -> list:
    """What :class:`BareDecoder` needs to read what the pipeline will.

    Args:
        clips: As :class:`TimedClips` takes them.
        steps: The whole pipeline.
        length: Samples of a pass.

    Raises:
        ValueError: If no step decodes video.
    """
    stages = [stage_of(step) for step in steps]
    if 'decode video' not in stages:
        raise ValueError(
            'The train pipeline decodes no video: name a config whose '
            'pipeline has DecodeVideo.'
        )
    found = []
    first = TimedClips(clips, steps[: stages.index('decode video')], length)
    for number in range(length):
        results = first[number].value
        results.pop('video_reader').close()
        stamps, inds = results.pop('frame_times'), results['frame_inds']
        found.append(dict(results, seconds=stamps[inds]))
    return found


def resident_bytes() -> int:
    """Resident memory of this process (Linux)."""
    with open('/proc/self/statm', encoding='ascii') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def clock() -> np.ndarray:
    """Wall and CPU seconds, all threads of this process."""
    return np.array([time.perf_counter(), time.process_time()])


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
        costs, inds = {}, None
        for step in self.steps:
            start, stage = clock(), stage_of(step)
            results = step(results)
            costs[stage] = costs.get(stage, 0) + clock() - start
            inds = results.get('frame_inds', inds)
        return Timed(results, costs, [inds], {os.getpid(): resident_bytes()})


def add(costs: Sequence[Costs]) -> Costs:
    """The sum of some costs, stage by stage."""
    stages = dict.fromkeys(stage for cost in costs for stage in cost)
    return {s: sum(cost.get(s, np.zeros(2)) for cost in costs) for s in stages}


def collate(samples: list[Timed]) -> Timed:
    """A batch the way MMEngine's runner makes it by default."""
    start = clock()
    batch = pseudo_collate([sample.value for sample in samples])
    costs = [sample.costs for sample in samples]
    costs.append({_COLLATE: clock() - start})
    inds = [array for sample in samples for array in sample.frame_inds]
    return Timed(batch, add(costs), inds, samples[-1].memory)


def without_value(samples: list[Timed]) -> Timed:
    """The cost of some samples; their frames stay in the worker."""
    return collate([sample._replace(value={}) for sample in samples])


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
    """The whole pipeline, and bare loops that decode the same frames.

    Args:
        clips: As :class:`TimedClips` takes them.
        steps: The whole pipeline.
        workers: Processes of each loader.
        batch_size: Samples of a batch.
        batches: Batches that each worker makes in a pass.
    """
    length = workers * batch_size * batches
    known = drawn(clips, steps, length)
    kinds = {'video': (known, [BareDecoder(audio=False)], without_value)}
    if any(stage_of(step) == 'decode audio' for step in steps):
        bare = [BareDecoder(audio=True)]
        kinds['video and audio'] = (known, bare, without_value)
    kinds['pipeline'] = (clips, steps, collate)
    return {
        name: DataLoader(
            TimedClips(some, part, length),
            batch_size=batch_size,
            num_workers=workers,
            collate_fn=collate_fn,
            worker_init_fn=one_thread,
            persistent_workers=True,
        )
        for name, (some, part, collate_fn) in kinds.items()
    }


class Pass(NamedTuple):
    """One pass over a loader: cost of a sample in a worker, memory after.

    Attributes:
        wall_ms: From the request of the first to the arrival of the last.
        cpu_ms: Of all stages.
        stages: Wall and CPU milliseconds by stage.
        memory: Resident bytes by worker.
    """

    wall_ms: float
    cpu_ms: float
    stages: Costs
    memory: dict[int, int]


def run(loader: DataLoader) -> Pass:
    """One pass over a loader of :class:`TimedClips`."""
    start = time.perf_counter()
    batches = [batch._replace(value=None) for batch in loader]
    wall = time.perf_counter() - start
    count = sum(len(batch.frame_inds) for batch in batches)
    costs = add([batch.costs for batch in batches])
    stages = {stage: 1000 * cost / count for stage, cost in costs.items()}
    memory = {pid: size for b in batches for pid, size in b.memory.items()}
    cpu = sum(cost[1] for cost in stages.values())
    return Pass(1000 * loader.num_workers * wall / count, cpu, stages, memory)


def alternate(
    loaders: dict[str, DataLoader], rounds: int
) -> Iterator[tuple[str, Pass]]:
    """Passes in turn; each loader is passed once to warm up, not counted.

    Args:
        loaders: By name.
        rounds: Counted passes of each; every other round goes backwards.
    """
    for loader in loaders.values():
        run(loader)
    for number in range(rounds):
        names = list(loaders)
        for name in names[:: -1 if number % 2 else 1]:
            yield name, run(loaders[name])


def compare(
    loaders: dict[str, DataLoader], rounds: int
) -> tuple[list[dict], dict[str, np.ndarray]]:
    """What the loaders of :func:`make_loaders` cost, medians of the rounds.

    Returns:
        For each loader ``samples_s``, ``wall_ms`` and ``cpu_ms`` of a worker
        per sample, ``share`` (median, least and largest part of the CPU time
        of the whole pipeline in the same round) and ``growth_mb`` of its
        workers' memory after the first round; and by stage of the pipeline
        wall and CPU milliseconds of a sample.
    """
    passes: dict[str, list[Pass]] = {name: [] for name in loaders}
    for name, one in alternate(loaders, rounds):
        passes[name].append(one)
    whole = passes['pipeline']
    rows = []
    for name, some in passes.items():
        pairs = zip(some, whole, strict=True)
        shares = [one.cpu_ms / other.cpu_ms for one, other in pairs]
        last, first = some[-1].memory, some[0].memory
        wall = median(one.wall_ms for one in some)
        rows.append(
            dict(
                loader=name,
                samples_s=1000 * loaders[name].num_workers / wall,
                wall_ms=wall,
                cpu_ms=median(one.cpu_ms for one in some),
                share=median(shares),
                share_least=min(shares),
                share_largest=max(shares),
                growth_mb=sum(last[pid] - first[pid] for pid in last) / 1e6,
            )
        )
    stages = {
        stage: np.median([one.stages[stage] for one in whole], axis=0)
        for stage in whole[0].stages
    }
    return rows, stages


def write_video(path: Path, number: int, args: argparse.Namespace) -> None:
    """A camera that pans over a coarse scene, with grain and audio.

    Args:
        path: File to write.
        number: Seed of the content.
        args: The command line.
    """
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
    """Files and spans to read.

    Args:
        folder: Where files may be written.
        args: The command line.

    Raises:
        SystemExit: If ``--videos`` holds no video.
    """
    common = dict(label=0, modality='RGB')
    if args.videos is None:
        for number in range(args.clips):
            write_video(folder / f'{number}.mp4', number, args)
    place = args.videos or folder
    found = files_below(str(place), VIDEO_EXTENSIONS)
    if not found:
        raise SystemExit(f'--videos {place}: {NO_VIDEO}')
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
    cfg = Config.fromfile(args.config)
    rows, stages = [], []
    with tempfile.TemporaryDirectory() as folder:
        clips = make_clips(Path(folder), args)
        steps = Compose(cfg.train_dataloader.dataset.pipeline).transforms
        for workers in args.workers:
            loaders = make_loaders(
                clips, steps, workers, args.batch_size, args.batches
            )
            found, costs = compare(loaders, args.rounds)
            rows += [dict(workers=workers) | row for row in found]
            stages += [
                dict(workers=workers, stage=stage, wall_ms=wall, cpu_ms=cpu)
                for stage, (wall, cpu) in costs.items()
            ]
    print(reports.table(rows), '\n', reports.table(stages), sep='\n')
    reports.write(args.json, rows, stages=stages, config=str(args.config))


if __name__ == '__main__':
    main()
