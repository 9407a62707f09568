# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Print a config with all of its base files and changes applied."""

import argparse


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='values to change, such as train_dataloader.batch_size=4',
    )
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import ca2st_mm  # noqa: F401  (knows _base_ = 'ca2st_mm::...')
from ca2st_mm.engine.launch import read_config, run_or_explain


def main() -> None:
    """Print the config as Python."""
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options, whole=False)
    print(cfg.pretty_text)


if __name__ == '__main__':
    run_or_explain(main)
