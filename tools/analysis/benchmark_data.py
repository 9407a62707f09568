# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How fast does the train pipeline of a config feed a model?

``python tools/analysis/benchmark_data.py [CONFIG] --workers 1 2`` prints, for
each number of loader workers, samples a second of the whole pipeline and of
the bare decoder (open and read the same frames, nothing else), and the
milliseconds of each stage.  Both run in turn, so that noise of the machine
hits both.  Without ``--videos`` it writes clips of its own.
"""

import argparse
import json
import platform
import tempfile
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Dict, List

import cv2
import numpy as np
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import init_default_scope

import ca2st_mm
from ca2st_mm.datasets.media import VIDEO_EXTENSIONS
from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.datasets.stage_timing import STAGES, alternate, make_loaders

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


def videos_of(folder: Path) -> List[Path]:
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


def measure(
    videos: List[Path], workers: int, args: argparse.Namespace
) -> Dict:
    """Rates and stages for one number of workers.

    Args:
        videos: Clips.
        workers: Loader processes.
        args: The command line.
    """
    pipeline = Config.fromfile(args.config).train_pipeline
    steps = Compose(pipeline).transforms
    clips = [
        dict(filename=str(path), label=0, modality='RGB') for path in videos
    ]
    loaders = make_loaders(
        clips, steps, workers, args.batch_size, args.batches
    )
    runs: Dict[str, list] = {name: [] for name in loaders}
    for name, result in alternate(loaders, args.rounds):
        runs[name].append(result)
    samples = sum(r.samples for r in runs['pipeline'])
    wall = {name: sum(r.wall for r in some) for name, some in runs.items()}
    shares = [
        bare.wall / whole.wall
        for bare, whole in zip(runs['decoder'], runs['pipeline'], strict=True)
    ]
    stages = {
        stage: 1000 * sum(r.seconds[stage] for r in runs['pipeline']) / samples
        for stage in STAGES
    }
    total = 1000 * workers * wall['pipeline'] / samples
    stages['hand over and wait'] = total - sum(stages.values())
    return dict(
        workers=workers,
        samples=samples,
        pipeline_per_second=samples / wall['pipeline'],
        decoder_per_second=samples / wall['decoder'],
        share=wall['decoder'] / wall['pipeline'],
        share_of_rounds=(min(shares), max(shares)),
        worker_ms_per_sample=total,
        stages_ms=stages,
    )


def print_table(rows: List[Dict]) -> None:
    """Stages down, numbers of workers across."""

    def line(name: str, values: list, digits: int = 1) -> None:
        print(f'{name:36s}' + ''.join(f'{v:10.{digits}f}' for v in values))

    line('workers', [row['workers'] for row in rows], 0)
    line(
        'whole pipeline, samples/s',
        [row['pipeline_per_second'] for row in rows],
    )
    line(
        'bare decoder, samples/s', [row['decoder_per_second'] for row in rows]
    )
    line('whole / bare, %', [100 * row['share'] for row in rows])
    line(
        'ms of a worker per sample', [r['worker_ms_per_sample'] for r in rows]
    )
    for stage in rows[0]['stages_ms']:
        line(f'  {stage}', [row['stages_ms'][stage] for row in rows])


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
    with tempfile.TemporaryDirectory() as folder:
        if args.videos is None:
            for number in range(args.clips):
                write_video(Path(folder, f'{number}.mp4'), number, args)
        videos = videos_of(args.videos or Path(folder))
        kilobytes = sum(path.stat().st_size for path in videos) / 1000
        rows = [measure(videos, workers, args) for workers in args.workers]
    print_table(rows)
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
        )
        args.json.write_text(json.dumps(report, indent=2), encoding='utf-8')


if __name__ == '__main__':
    main()
