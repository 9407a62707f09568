# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Train on your own clips: one folder a class, and a config comes out."""

import argparse
import shlex
from pathlib import Path

from ca2st_mm.datasets.folder_config import config_text
from ca2st_mm.datasets.folders import (
    FolderError,
    scan_folders,
    split_videos,
    write_rows,
)
from ca2st_mm.engine.launch import run_or_explain

BASE = Path(__file__).resolve().parents[2] / 'configs/ca2st/ca2st_k400.py'


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', type=Path, help='folder of class folders')
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
        type=Path,
        default=BASE,
        help='config to inherit from (default: CA2ST on Kinetics-400)',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace the files of an earlier run',
    )
    return parser.parse_args()


def main() -> None:
    """Write manifests, class list and config, and say what is in them."""
    args = parse_args()
    root = args.root
    found = scan_folders(str(root))
    train, val = split_videos(found.videos, args.val_fraction, args.seed)
    text = config_text(str(args.base), str(root), len(found.videos))
    config = root / f'{root.resolve().name}_{args.base.stem}.py'
    outputs = {
        'train': root / 'train.csv',
        'val': root / 'val.csv',
        'classes': root / 'classes.txt',
        'config': config,
    }
    refuse_to_replace(list(outputs.values()), args.overwrite)
    write_rows(str(outputs['train']), train)
    write_rows(str(outputs['val']), val)
    names = ''.join(f'{name}\n' for name in found.videos)
    outputs['classes'].write_text(names, encoding='utf-8')
    config.write_text(text, encoding='utf-8')
    print(
        f'{len(found.videos)} classes, {len(train)} clips to train and '
        f'{len(val)} to validate in {root}'
    )
    report(found.videos, found.ignored, set(outputs.values()), root)
    print(f'now: python tools/train.py {shlex.quote(str(config))}')


def refuse_to_replace(paths: list, overwrite: bool) -> None:
    """Keep what someone may have edited.

    Raises:
        FolderError: If a file is there already.
    """
    there = [str(path) for path in paths if path.exists()]
    if there and not overwrite:
        raise FolderError(
            f'{", ".join(there)} would be replaced; move them away, or pass '
            '--overwrite'
        )


def report(videos: dict, ignored: list, ours: set, root: Path) -> None:
    """Say what a user may not expect."""
    lone = [name for name, files in videos.items() if len(files) == 1]
    if lone:
        print(
            'one clip only, so not in the validation set: ' + ', '.join(lone)
        )
    ignored = [name for name in ignored if root / name not in ours]
    if ignored:
        print(
            f'{len(ignored)} files are no videos of a class and were left '
            f'out, for example {ignored[0]}'
        )


if __name__ == '__main__':
    run_or_explain(main, (FolderError,))
