# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Make a checkpoint ready to share.

Strips the optimizer, adds facts (config, class names, licence, SHA-256 of the
source) and the first digits of the file's SHA-256 to its name::

    ca2st publish work_dirs/cast_k400/epoch_70.pth \\
        weights/cast_k400.safetensors --config configs/cast/cast_k400.py \
        --licence 'CC BY-NC 4.0 (trained from VideoMAE)'
"""

import argparse


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', help='what training wrote')
    parser.add_argument('out', help='name ending in .safetensors or .pth')
    parser.add_argument(
        '--config',
        help='needed to make a whole checkpoint of a delta one, or a delta '
        'one of a whole one',
    )
    parser.add_argument(
        '--delta',
        action='store_true',
        help='leave out the frozen weights of the experts',
    )
    parser.add_argument(
        '--licence',
        default='unknown',
        help='terms of these weights; those of the experts go with them',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Write the file and say where."""
    from mmengine.config import Config

    from ca2st_mm.apis import publish

    config = Config.fromfile(args.config) if args.config else None
    path = publish(
        args.checkpoint,
        args.out,
        config=config,
        delta=args.delta,
        metadata=dict(licence=args.licence),
    )
    print(f'{path.stat().st_size / 1e6:.1f} MB written to {path}')


if __name__ == '__main__':
    # Importing torch takes seconds, so flags are read before.
    flags = parse_args()
    from ca2st_mm.engine.launch import run_or_explain

    run_or_explain(lambda: main(flags), FileNotFoundError, ValueError)
