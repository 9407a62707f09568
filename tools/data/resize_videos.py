# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Make all videos of a folder smaller, to be decoded faster.

``ca2st data resize-videos videos videos_256 --short-side 256``.
Times and audio are kept; frames stand upright and have square pixels.  An
interrupted run is resumed by starting it again.
"""

import argparse
import sys

from media_job import JobError, add_common, find_targets, run


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', help='where the videos are')
    parser.add_argument('out', help='folder to write to')
    parser.add_argument(
        '--short-side',
        type=int,
        default=256,
        help='pixels; smaller videos keep their size; default: 256',
    )
    parser.add_argument(
        '--crf',
        type=int,
        default=18,
        help='quality of H.264, lower is better; default: 18',
    )
    parser.add_argument(
        '--key-every',
        type=int,
        default=50,
        help='frames between key frames; fewer make jumps faster',
    )
    parser.add_argument(
        '--extension',
        default='.mp4',
        help='of the new files, .mp4 or .mkv; default: .mp4',
    )
    add_common(parser)
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
    run_or_explain(lambda: sys.exit(main()), JobError)
