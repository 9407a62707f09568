# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Make a checkpoint of training ready to share.

Writes a folder of the weights alone, with config, class names and a model
card, as ``save_pretrained`` does::

    ca2st publish work_dirs/cast_k400/epoch_70.pth weights/cast_k400 \\
        --licence 'CC BY-NC 4.0 (trained from VideoMAE)'
"""

import argparse


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', help='what training wrote, or its name')
    parser.add_argument('folder', help='folder to write')
    parser.add_argument(
        '--config', help='config of the model, if the checkpoint has none'
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
    """Write the folder and say how large it is."""
    from ca2st_mm.apis import get_model, save_pretrained

    model = get_model(args.checkpoint, config=args.config)
    folder = save_pretrained(
        model, args.folder, delta=args.delta, licence=args.licence
    )
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f'{size / 1e6:.1f} MB written to {folder}')


if __name__ == '__main__':
    # Importing torch takes seconds, so flags are read before.
    flags = parse_args()
    from ca2st_mm.engine.launch import run_or_explain

    run_or_explain(lambda: main(flags), FileNotFoundError, ValueError)
