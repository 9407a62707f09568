# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Train a model: ``ca2st train CONFIG``."""

import argparse

from common_flags import add_run, new_parser
from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    """Read the flags; they are those of MMAction2's tool."""
    parser = new_parser(__doc__)
    add, switch = parser.add_argument, dict(action='store_true')
    add('config', help='config file')
    add(
        '--resume',
        nargs='?',
        const='auto',
        help='continue from this checkpoint, or from the latest whole one in '
        'the work folder if none is given',
    )
    add(
        '--amp',
        **switch,
        help='as in MMAction2: --precision bfloat16, or float16 on GPUs '
        'without it',
    )
    add(
        '--auto-scale-lr',
        **switch,
        help='scale the learning rate by the clips of all processes',
    )
    add(
        '--target-batch',
        type=int,
        metavar='CLIPS',
        help='clips of all processes in one step of the optimizer; sets how '
        'many micro-batches are accumulated',
    )
    add('--no-validate', **switch, help='do not validate while training')
    add('--seed', type=int, help='random seed')
    add('--diff-rank-seed', **switch, help='each process has its own seed')
    add('--deterministic', **switch, help='deterministic kernels only')
    add_run(parser)
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

from contextlib import ExitStack

import ca2st_mm  # noqa: F401  (works around faults and registers)
from ca2st_mm.engine import launch
from ca2st_mm.engine.interruption import InterruptionHook, only_run_in
from ca2st_mm.engine.learning_rate import (
    scales_linearly,
    set_effective_batch_size,
)
from ca2st_mm.engine.preflight import check_classes, check_files
from ca2st_mm.utils.building import building


def auto_scale_lr(cfg: Config, accumulates: bool) -> None:
    """Have MMEngine scale the learning rate by the clips of all processes.

    Raises:
        launch.UsageError: If it cannot, or if it would be the wrong one.
    """
    if scales_linearly(cfg) or accumulates:
        raise launch.UsageError(
            'LinearScalingHook scales the learning rate already, and MMEngine '
            'does not count the micro-batches of --target-batch; leave '
            '--auto-scale-lr out'
        )
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise launch.UsageError(
            '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=N) in '
            'the config'
        )
    cfg.auto_scale_lr.enable = True


def apply_flags(cfg: Config, args: argparse.Namespace) -> None:
    """Write the flags of training into the config.

    Raises:
        launch.UsageError: If a flag does not fit the config.
    """
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp and args.precision:
        raise launch.UsageError(
            '--amp and --precision say the same; leave one of them out'
        )
    if args.amp:
        args.precision = 'lower'
    if args.target_batch is not None:
        set_effective_batch_size(cfg, args.target_batch)
    if args.auto_scale_lr:
        auto_scale_lr(cfg, args.target_batch is not None)
    randomness = dict(cfg.get('randomness') or {})
    if args.seed is not None:
        randomness['seed'] = args.seed
    if args.diff_rank_seed:
        randomness['diff_rank_seed'] = True
    if args.deterministic:
        randomness['deterministic'] = True
    cfg.randomness = randomness or dict(seed=None)


def main() -> None:
    """Train as the flags say."""
    args = parse_args()
    cfg = launch.load_config(args)
    apply_flags(cfg, args)
    check_files(cfg, 'train')
    check_classes(cfg, 'train')
    launch.join_processes(cfg)
    with ExitStack() as stack:
        launch.decided_by_main(
            lambda: stack.enter_context(only_run_in(cfg.work_dir))
        )
        launch.resume(cfg, args.resume)
        runner = launch.build_runner(cfg, args.precision)
        interruption = stack.enter_context(InterruptionHook())
        runner.register_hook(interruption)
        with building(cfg):  # data, optimizer and schedule
            runner.train()
        del runner  # the process group is left when nothing refers to it
    launch.leave_process_group()


if __name__ == '__main__':
    launch.run_or_explain(main)
