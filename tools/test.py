# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Test a model: ``ca2st test CONFIG CHECKPOINT``."""

import argparse

from common_flags import add_run, new_parser, whole
from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    """Read the flags; they are those of MMAction2's tool."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file')
    add('--dump', help='write every prediction to this .pkl file')
    add('--show-dir', help='draw the predictions into this folder')
    add('--show', action='store_true', help='draw them in a window')
    add('--interval', type=whole, default=1, help='draw every n-th sample')
    add('--wait-time', type=float, default=2, help='seconds of a window')
    add_run(parser)
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import ca2st_mm  # noqa: F401  (works around faults and registers)
from ca2st_mm.engine import launch
from ca2st_mm.engine.preflight import check_classes, check_files
from ca2st_mm.utils.building import building


def apply_flags(cfg: Config, args: argparse.Namespace) -> None:
    """Write the flags of testing into the config.

    Raises:
        launch.UsageError: If the name of the dump is not that of a pickle.
    """
    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        hooks = cfg.get('default_hooks') or {}
        drawing = hooks.get('visualization') or dict(type='VisualizationHook')
        drawing = dict(
            drawing,
            enable=True,
            show=args.show,
            out_dir=args.show_dir,
            interval=args.interval,
            wait_time=args.wait_time,
        )
        cfg.default_hooks = dict(hooks, visualization=drawing)
    if args.dump:
        if not args.dump.endswith(('.pkl', '.pickle')):
            raise launch.UsageError(
                f'--dump writes a pickle, so {args.dump} must end in .pkl'
            )
        evaluators = cfg.get('test_evaluator') or []
        if not isinstance(evaluators, (list, tuple)):
            evaluators = [evaluators]
        dump = dict(type='DumpResults', out_file_path=args.dump)
        cfg.test_evaluator = [*evaluators, dump]


def main() -> None:
    """Test as the flags say."""
    args = parse_args()
    cfg = launch.load_config(args)
    apply_flags(cfg, args)
    check_files(cfg, 'test')
    check_classes(cfg, 'test')
    runner = launch.build_runner(cfg, args.precision, trains=False)
    with building(cfg):  # the data and its metrics
        runner.test()
    del runner  # the process group is left when nothing refers to it
    launch.leave_process_group()


if __name__ == '__main__':
    launch.run_or_explain(main)
