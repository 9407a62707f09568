# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Print a config with all of its base files and changes applied."""

import argparse

from reports import add_cfg_options, new_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument('config', help='config file')
    add_cfg_options(parser)
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
