# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Train on your own clips: one folder a class, and a config comes out."""

import argparse
import shlex
import sys
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FULL = CONFIGS / 'ca2st/ca2st_k400.py'
SMALL = CONFIGS / 'toy/ca2st_small.py'


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
        help='config to inherit from (default: CA2ST on Kinetics-400; on a '
        'machine without a GPU a small one that needs no weights)',
    )
    parser.add_argument(
        '--missing-audio',
        choices=('drop', 'silence', 'raise'),
        help='what is done about clips without audio: left to the other '
        'experts, given silence, or refused (default: drop)',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace the files of an earlier run',
    )
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import torch
from class_folders import prepare_folders
from mmengine.config import Config

from ca2st_mm import zoo
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.engine.preflight import needed_weights


def command(tool: str, *arguments: str) -> str:
    """A command line of a tool, as this one was called."""
    if sys.argv[0].startswith('ca2st '):
        words = ['ca2st', *tool.replace('_', '-').split('/')]
    else:
        words = ['python', f'tools/{tool}.py']
    return shlex.join([*words, *arguments])


def weights_text(config: Path) -> str:
    """The command that fetches the pretrained weights of a config."""
    names = [
        path.removeprefix(zoo.SCHEME)
        for path in needed_weights(Config.fromfile(config))
        if path.startswith(zoo.SCHEME)
    ]
    return command('weights', 'get', *names)


def main() -> None:
    """Write annotation files, class list and config, and say what is next."""
    args = parse_args()
    small = args.base is None and not torch.cuda.is_available()
    args.base = args.base or str(SMALL if small else FULL)
    made = prepare_folders(**vars(args))
    print(*made.lines, 'next:', sep='\n')
    print(f'  {command("data/check", made.config, "--decode")}')
    print(f'  {command("train", made.config)}')
    print(f'  {command("predict", args.root, "--model", made.work_dir)}')
    if small:
        full = 'configs/ca2st/ca2st_k400.py'  # `ca2st` finds it anywhere
        if not sys.argv[0].startswith('ca2st '):
            full = str(FULL)
        print(
            'This machine has no GPU, so the model is small and learns from '
            'scratch.\nFor CA2ST with pretrained experts, on a GPU:\n'
            f'  {weights_text(FULL)}\n  '
            + command(
                'data/from_folders',
                *(args.root, '--base', full, '--overwrite'),
            )
        )


if __name__ == '__main__':
    run_or_explain(main)
