# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Train on your own clips: one folder a class, and a config comes out."""

import argparse
from pathlib import Path

BASE = Path(__file__).resolve().parents[2] / 'configs/ca2st/ca2st_k400.py'


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', help='folder of class folders')
    parser.add_argument(
        '--val-fraction',
        type=float,
        default=0.2,
        help='part of each class for validation (default: %(default)s)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of the split (default: 0)'
    )
    parser.add_argument(
        '--base',
        default=str(BASE),
        help='config to inherit from (default: CA2ST on Kinetics-400)',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace the files of an earlier run',
    )
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

from ca2st_mm.datasets.folders import FolderError, prepare_folders
from ca2st_mm.engine.launch import run_or_explain


def main() -> None:
    """Write manifests, class list and config, and say what is in them."""
    print(prepare_folders(**vars(parse_args())))


if __name__ == '__main__':
    run_or_explain(main, (FolderError,))
