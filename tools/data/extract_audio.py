# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Write the audio of all videos of a folder as mono wav or flac files.

``ca2st data extract-audio videos audio --sample-rate 16000``.
The audio starts with its video.  An interrupted run is resumed by starting
it again.
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
    add('--sample-rate', type=whole, help="the file's own if left out")
    add(
        '--extension',
        default='.wav',
        choices=('.wav', '.flac'),
        help='form of the audio files',
    )
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

from ca2st_mm.datasets.transcode import extract_audio
from ca2st_mm.engine.launch import run_or_explain


def main(argv: list[str] | None = None) -> int:
    """Extract; see the top of the file."""
    args = parse_args(argv)
    pairs = find_targets(args.folder, args.extension, args.out)

    def make(target: str) -> None:
        extract_audio(pairs[target], target, args.sample_rate)

    return int(bool(run(list(pairs), make, args.workers)))


if __name__ == '__main__':
    run_or_explain(lambda: sys.exit(main()))
