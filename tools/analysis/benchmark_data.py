# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How fast does the train pipeline of a config feed a model?

``python tools/analysis/benchmark_data.py [CONFIG] --workers 1 2`` prints, for
each number of loader workers, samples a second of the whole pipeline, of the
bare decoder (open and read the same frames, nothing else) and of decoding
picture and sound, and the milliseconds of each stage.  All run in turn, so
that noise of the machine hits all; numbers are medians of the rounds.
Without ``--videos`` it writes clips of its own.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import init_default_scope

import ca2st_mm
from ca2st_mm.datasets.feeding_rates import compare, make_loaders
from ca2st_mm.datasets.media import VIDEO_EXTENSIONS
from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.datasets.stage_timing import until_decoded
from ca2st_mm.datasets.transforms import LogMelSpectrogram
from ca2st_mm.datasets.transforms.kaldi_mel import energies, split_frames

_ROOT = Path(__file__).resolve().parents[2]
_DEFAULT = _ROOT / 'configs/_base_/datasets/kinetics400_audio_visual.py'
_PACKAGES = ('av', 'decord', 'mmaction2', 'numpy', 'opencv-python', 'torch')
_FPS, _RATE = 30, 44100


def write_video(path: Path, number: int, args: argparse.Namespace) -> None:
    """A camera that pans over a coarse picture, with grain and sound.

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
    sound = rng.normal(0, 0.1, round(args.seconds * _RATE))
    write_clip(
        str(path), np.stack(frames), _FPS, sound.astype(np.float32), _RATE
    )


def videos_of(folder: Path) -> list[Path]:
    """The videos below a folder.

    Raises:
        SystemExit: If there is none.
    """
    found = sorted(
        path
        for path in folder.rglob('*')
        if path.suffix.lower() in VIDEO_EXTENSIONS
    )
    if not found:
        raise SystemExit(
            f"'{folder}' holds no video: name a folder with some, or leave "
            '--videos out.'
        )
    return found


def mel_alone_and_batched(
    clips: list[dict], steps: Sequence[Callable], args: argparse.Namespace
) -> dict[str, float]:
    """Milliseconds of the processor per sample for the log-mel energies.

    ``'worker'`` makes them sound by sound, as the pipeline does; ``'batch'``
    hands the frames of a whole batch to the same arithmetic at once, as one
    would on a device; here it runs on the processor.  One thread each, in
    turn.  Empty without :class:`LogMelSpectrogram`.

    Args:
        clips: What a dataset hands to a pipeline.
        steps: The train pipeline.
        args: The command line.
    """
    mels = [step for step in steps if isinstance(step, LogMelSpectrogram)]
    if not mels:
        return {}
    decode = until_decoded(steps, with_sound=True)
    sounds = []
    for number in range(args.batch_size):
        sample = dict(clips[number % len(clips)])
        for step in decode:
            sample = step(sample)
        sounds.append((sample['waveform'], sample['sample_rate']))
    rate, last = sounds[0][1], mels[0].num_frames
    frames = torch.cat(
        [split_frames(torch.from_numpy(w), rate)[:last] for w, _ in sounds]
    )
    ways = dict(
        worker=lambda: [mels[0].features(*s, 0, last) for s in sounds],
        batch=lambda: energies(frames, rate, mels[0].num_mels),
    )
    spent: dict[str, list] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            start = time.process_time()
            way()
            spent[name].append(time.process_time() - start)
    return {n: 1000 * median(s) / len(sounds) for n, s in spent.items()}


def print_table(rows: list[dict], mel: dict[str, float]) -> None:
    """Rates and stages down, numbers of workers across."""

    def line(name: str, values: list) -> None:
        cells = ''.join(f'{v:>18}' for v in values)
        print(f'{name:36s}{cells}')

    line('workers', [row['workers'] for row in rows])
    for name in rows[0]['wall_ms']:
        rates = [r['workers'] * 1000 / r['wall_ms'][name] for r in rows]
        line(f'{name}, samples/s', [f'{rate:.1f}' for rate in rates])
    for name in rows[0]['share_of_rate']:
        for kind in ('rate', 'cpu'):
            shares = [row[f'share_of_{kind}'][name] for row in rows]
            line(
                f'pipeline of {name}, {kind}',
                ['{:.0%} ({:.0%}-{:.0%})'.format(*some) for some in shares],
            )
    print('\nms per sample of a worker: wall / processor')
    for name in rows[0]['wall_ms']:
        line(
            name,
            [
                f'{r["wall_ms"][name]:.1f} / {r["cpu_ms"][name]:.1f}'
                for r in rows
            ],
        )
    for stage in rows[0]['stages_ms']:
        spent = [row['stages_ms'][stage] for row in rows]
        line(
            f'  {stage}',
            [' / '.join(f'{v:.1f}' for v in some.values()) for some in spent],
        )
    for way, spent in mel.items():
        print(f'mel, processor, {way}: {spent:.1f} ms per sample')


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'config', nargs='?', type=Path, default=_DEFAULT, help='a data config'
    )
    parser.add_argument('--videos', type=Path, help='folder of clips to read')
    parser.add_argument('--workers', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument(
        '--batches', type=int, default=2, help='of a worker and round'
    )
    parser.add_argument('--rounds', type=int, default=6)
    parser.add_argument('--clips', type=int, default=4, help='to write')
    parser.add_argument('--seconds', type=float, default=10.0)
    parser.add_argument('--size', type=int, nargs=2, default=(340, 256))
    parser.add_argument(
        '--json', type=Path, help='also write the numbers here'
    )
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    args = parse_args()
    init_default_scope('mmaction')
    pipeline = Config.fromfile(args.config).train_pipeline
    steps = Compose(pipeline).transforms
    with tempfile.TemporaryDirectory() as folder:
        if args.videos is None:
            for number in range(args.clips):
                write_video(Path(folder, f'{number}.mp4'), number, args)
        videos = videos_of(args.videos or Path(folder))
        kilobytes = sum(path.stat().st_size for path in videos) / 1000
        clips = [
            dict(filename=str(path), label=0, modality='RGB')
            for path in videos
        ]
        rows = [
            compare(
                make_loaders(clips, steps, n, args.batch_size, args.batches),
                n,
                args.rounds,
            )
            for n in args.workers
        ]
        torch.set_num_threads(1)
        mel = mel_alone_and_batched(clips, steps, args)
    print_table(rows, mel)
    if args.json:
        report = dict(
            config=str(args.config),
            date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
            machine=platform.machine(),
            versions={name: version(name) for name in _PACKAGES}
            | dict(
                python=platform.python_version(), ca2st_mm=ca2st_mm.__version__
            ),
            kilobytes_per_clip=round(kilobytes / len(videos)),
            rows=rows,
            mel_ms=mel,
        )
        args.json.write_text(json.dumps(report, indent=2), encoding='utf-8')


if __name__ == '__main__':
    main()
