# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Write the toy data set: ``ca2st data make-toy data/toy``."""

import argparse
from pathlib import Path

from media_job import new_parser, whole

# 180 test clips: shuffled tracks fall evenly on the pitches of every class.
_SIZES = dict(train=480, val=96, test=180)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add('folder', nargs='?', default='data/toy', help='folder to write to')
    for split, clips in _SIZES.items():
        add(f'--{split}', type=int, default=clips, help='clips of this split')
    add('--size', type=int, default=64, help='pixels of a side of a frame')
    add(
        '--labels-from',
        choices=('both', 'video', 'audio'),
        default='both',
        help='the class is shape x direction x pitch (both), shape x '
        'direction (video) or pitch (audio)',
    )
    add(
        '--misaligned',
        type=float,
        default=0.0,
        help='share of the clips, 0 to 1, that have the audio of another clip',
    )
    add('--seed', type=int, default=0, help='of all that is random')
    add('--workers', type=whole, default=2, help='clips written at once')
    add('--overwrite', action='store_true', help='replace a data set')
    args = parser.parse_args()
    if not 0 <= args.misaligned <= 1:
        parser.error('--misaligned lies between 0 and 1')
    if args.misaligned and args.labels_from != 'both':
        parser.error('--misaligned needs labels from both modalities')
    if not args.overwrite and Path(args.folder, 'classes.txt').exists():
        parser.error(
            f'{args.folder} holds a data set, which would be replaced; name '
            'another folder, or pass --overwrite'
        )
    return args


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

from ca2st_mm.datasets.toy import ToyWorld, write_toy_set
from ca2st_mm.engine.launch import run_or_explain


def main() -> None:
    """Write the files and say where."""
    args = parse_args()
    sizes = {split: getattr(args, split) for split in _SIZES}
    world = ToyWorld(
        size=args.size,
        labels_from=args.labels_from,
        misaligned=args.misaligned,
    )
    write_toy_set(args.folder, sizes, args.seed, world, args.workers)
    print(f'{sum(sizes.values())} clips written to {args.folder}')


if __name__ == '__main__':
    run_or_explain(main)
