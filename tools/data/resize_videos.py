# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Make all videos of a folder smaller, to be decoded faster.

``ca2st data resize-videos videos videos_256 --short-side 256``.
Times and audio are kept; frames stand upright and have square pixels.  An
interrupted run is resumed by starting it again.
"""

import argparse
import sys

from media_job import find_targets, job_parser, run, whole


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = job_parser(__doc__)
    add = parser.add_argument
    add('folder', help='where the videos are')
    add('out', help='folder to write to')
    add(
        '--short-side',
        type=whole,
        default=256,
        help='pixels; smaller videos keep their size',
    )
    add('--crf', type=int, default=18, help='of H.264; lower is better')
    add(
        '--key-every',
        type=whole,
        default=50,
        help='frames between key frames; fewer make jumps faster',
    )
    add('--extension', default='.mp4', help='of the files: .mp4 or .mkv')
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

from ca2st_mm.datasets.transcode import Encoding, encode
from ca2st_mm.engine.launch import run_or_explain


def main(argv: list[str] | None = None) -> int:
    """Resize; see the top of the file."""
    args = parse_args(argv)
    pairs = find_targets(args.folder, args.extension, args.out)
    encoding = Encoding(args.short_side, args.crf, args.key_every)

    def make(target: str) -> None:
        encode(pairs[target], target, encoding)

    return int(bool(run(list(pairs), make, args.workers)))


if __name__ == '__main__':
    run_or_explain(lambda: sys.exit(main()))
