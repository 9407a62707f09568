# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What does a sample out of a long file cost against a trimmed clip?

Writes a long synthetic video and, of the same content, trimmed clips; draws
samples (pictures and sound) from both, prints milliseconds a sample and the
cost of indexing the whole file, and writes the numbers as JSON.
"""

import argparse
import json
import os.path as osp
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial

import av
import numpy as np

import ca2st_mm  # noqa: F401
from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.datasets.readers import PyAVReader, Source
from ca2st_mm.datasets.transforms import (
    DecodeVideo,
    FrameTimes,
    LoadAudio,
    OpenVideo,
    SegmentSample,
)

_FPS, _RATE, _PIECE_SECONDS = 25, 16000, 20
_STEPS = (SegmentSample(16), DecodeVideo(), FrameTimes(), LoadAudio())


def write_piece(path: str, size: int) -> None:
    """One piece of noise-like content with sound.

    Args:
        path: File to write.
        size: Height and width.
    """
    rng = np.random.default_rng(0)
    count = _FPS * _PIECE_SECONDS
    coarse = rng.integers(0, 255, (count // 5, size // 16, size // 16, 3))
    frames = np.kron(coarse, np.ones((1, 16, 16, 1))).astype(np.uint8)
    sound = rng.normal(0, 0.1, _RATE * _PIECE_SECONDS).astype(np.float32)
    write_clip(path, np.repeat(frames, 5, axis=0), _FPS, sound, _RATE)


def repeat_packets(source: str, target: str, times: int) -> None:
    """Join a file to itself by copying packets: no encoding, so it is fast.

    Args:
        source: The file.
        target: The long file to write.
        times: How often.
    """
    with av.open(target, 'w') as output:
        with av.open(source) as first:
            streams = {
                s.index: output.add_stream_from_template(s)
                for s in first.streams
            }
        for number in range(times):
            with av.open(source) as piece:
                for packet in piece.demux():
                    length = int(_PIECE_SECONDS / packet.time_base)
                    # The encoder's padding would overlap the next piece.
                    if packet.dts is None or not 0 <= packet.pts < length:
                        continue
                    shift = number * length
                    packet.pts += shift
                    packet.dts += shift
                    packet.stream = streams[packet.stream.index]
                    output.mux(packet)


def timed(work: Callable[[], object]) -> float:
    """Milliseconds of a call."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def draw(opener: OpenVideo, sample: dict) -> None:
    """One sample through the pipeline."""
    results = opener(dict(sample))
    for step in _STEPS:
        results = step(results)


def spans(count: int, total: float, length: float) -> Iterator[tuple]:
    """Random clips of a video."""
    rng = np.random.default_rng(1)
    for start in rng.uniform(0, total - length, count):
        yield round(float(start), 2), round(float(start) + length, 2)


def summary(name: str, values: list[float]) -> dict:
    """Median and spread of some timings."""
    return dict(
        name=name,
        samples=len(values),
        median_ms=round(statistics.median(values), 2),
        max_ms=round(max(values), 2),
    )


def measure(folder: str, args: argparse.Namespace) -> dict:
    """All timings.

    Args:
        folder: For the files.
        args: The command line.
    """
    piece = osp.join(folder, 'piece.mp4')
    long = osp.join(folder, f'long.{args.container}')
    writing = timed(lambda: write_piece(piece, args.size))
    times = round(60 * args.minutes / _PIECE_SECONDS)
    writing += timed(lambda: repeat_packets(piece, long, times))
    total = times * _PIECE_SECONDS
    trimmed = osp.join(folder, 'trimmed.mp4')
    with PyAVReader(Source(piece)) as reader:
        frames = reader.read(range(round(args.clip_seconds * _FPS)))
    sound = np.zeros(round(args.clip_seconds * _RATE), np.float32)
    write_clip(trimmed, frames, _FPS, sound, _RATE)
    clips = [
        dict(filename=long, clip_start=start, clip_end=end)
        for start, end in spans(args.samples, total, args.clip_seconds)
    ]
    rows = []
    for name in args.readers:
        opener = OpenVideo(reader=name)
        for kind, samples in (
            ('untrimmed', clips),
            ('trimmed', [dict(filename=trimmed)] * args.samples),
        ):
            draw(opener, samples[0])
            values = [timed(partial(draw, opener, s)) for s in samples]
            rows.append(summary(f'{kind}, {name}', values))
    whole = [timed(lambda: PyAVReader(Source(long)).close()) for _ in range(3)]
    rows.append(summary('index of the whole file', whole))
    return dict(
        minutes=total / 60,
        container=args.container,
        size=args.size,
        clip_seconds=args.clip_seconds,
        file_mb=round(osp.getsize(long) / 1e6, 1),
        writing_ms=round(writing),
        rows=rows,
    )


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--minutes', type=float, default=60)
    parser.add_argument('--size', type=int, default=256)
    parser.add_argument('--container', choices=('mp4', 'mkv'), default='mp4')
    parser.add_argument('--clip-seconds', type=float, default=4.0)
    parser.add_argument('--samples', type=int, default=40)
    parser.add_argument('--readers', nargs='+', default=['decord', 'pyav'])
    parser.add_argument('--json', default='untrimmed.json')
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(folder, args)
    with open(args.json, 'w', encoding='utf-8') as file:
        json.dump(report, file, indent=2)
    for row in report['rows']:
        print('{name:28s} {median_ms:8.2f} ms (max {max_ms})'.format(**row))
    print(f'numbers in {args.json}')


if __name__ == '__main__':
    main()
