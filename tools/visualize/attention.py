# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Attention of all links and experts on a clip.

A figure for each link and direction, and with --video one video of the last
layer with the audio of the clip::

    python tools/visualize/attention.py CONFIG CHECKPOINT clip.mp4 \\
        --out attention --video
    python tools/visualize/attention.py CONFIG CHECKPOINT clip.mp4 \\
        --at 1.5 --patch 6,7 --layers 9 10 11
"""

import argparse
from pathlib import Path

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.apis import Recognizer
from ca2st_mm.datasets.faults import SampleFault
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.visualization.attention import (
    Point,
    draw_views,
    read_attention,
    write_attention_video,
)
from ca2st_mm.visualization.style import FigureInputError, save
from ca2st_mm.zoo import ZooError


def patch(text: str) -> tuple[int, int]:
    """ROW,COL as two numbers."""
    row, column = map(int, text.split(','))
    return row, column


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('clip', help='media file')
    parser.add_argument(
        '--at',
        type=float,
        metavar='SECONDS',
        help='moment of the queries (default: mean over all)',
    )
    parser.add_argument(
        '--patch',
        type=patch,
        metavar='ROW,COL',
        help='patch of the queries in frames (default: mean over all)',
    )
    parser.add_argument('--layers', type=int, nargs='+', help='from 0')
    parser.add_argument(
        '--head', type=int, help='from 0 (default: mean over heads)'
    )
    parser.add_argument(
        '--view',
        type=int,
        help='of the test, from 0 (default: the middle, or nearest to --at)',
    )
    parser.add_argument(
        '--only',
        nargs='+',
        metavar='NAME',
        help='draw these alone, such as spatial_from_audio or audio_self',
    )
    parser.add_argument('--start', type=float, help='first second of the clip')
    parser.add_argument('--end', type=float, help='last second of the clip')
    parser.add_argument(
        '--video', action='store_true', help='also write attention.mp4'
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', type=Path, default=Path('attention'))
    return parser.parse_args()


def main() -> None:
    """Read and draw as the arguments say."""
    args = parse_args()
    recognizer = Recognizer.from_config(
        args.config, args.checkpoint, args.device
    )
    attention = read_attention(
        recognizer,
        args.clip,
        args.view,
        args.layers,
        args.head,
        (args.start, args.end),
        args.at,
    )
    if args.only:
        attention = attention.only(args.only)
    figures = draw_views(attention, Point(args.at, args.patch))
    for name, figure in figures.items():
        save(figure, args.out / f'{name}.png')
        print(args.out / f'{name}.png')
    if args.video:
        write_attention_video(attention, args.out / 'attention.mp4')
        print(args.out / 'attention.mp4')


if __name__ == '__main__':
    run_or_explain(
        main, (FigureInputError, SampleFault, FileNotFoundError, ZooError)
    )
