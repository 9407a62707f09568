# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the command lines for training and testing have in common."""

import argparse
import gc
import os
import os.path as osp
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmaction.registry import RUNNERS
from mmengine import dist
from mmengine.config import Config
from mmengine.runner import Runner

from ca2st_mm import zoo
from ca2st_mm.checkpoints import CheckpointError
from ca2st_mm.utils.text_files import ListFileError

from .non_finite_loss import NonFiniteLossError
from .precision import PrecisionError, set_precision
from .preflight import ClassCountError, MissingFileError


class UsageError(ValueError):
    """A flag or an option of the config does not fit; the message says why."""


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the flags that training and testing share.

    Args:
        args: Parsed flags: ``config``, ``work_dir``, ``cfg_options``,
            ``launcher`` and ``local_rank``.

    Raises:
        MissingFileError: If there is no such config file.
        UsageError: If an option does not fit the config, or torchrun started
            several processes that would not know of each other.
    """
    processes = int(os.environ.get('WORLD_SIZE', 1))
    if (
        args.launcher == 'none'
        and processes > 1
        and 'TORCHELASTIC_RUN_ID' in os.environ
    ):
        raise UsageError(
            f'torchrun started {processes} processes, but each would run '
            'alone and write over the others; add --launcher pytorch'
        )
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if not osp.isfile(args.config):
        raise MissingFileError(
            f'There is no config file {args.config}; configs/ holds ours'
        )
    cfg = Config.fromfile(args.config)
    merge_options(cfg, args.cfg_options)
    cfg.launcher = args.launcher
    if args.launcher != 'none' and not torch.cuda.is_available():
        # Processes that share no GPU.
        wrapper = dict(type='MMDistributedDataParallel', device_ids=None)
        ddp = (cfg.get('strategy') or {}).get('type') == 'DDPStrategy'
        key = 'strategy.model_wrapper' if ddp else 'model_wrapper_cfg'
        cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo', key: wrapper})
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name) or {}
        if loader.get('num_workers') == 0:
            # PyTorch refuses both without workers.
            loader.pop('persistent_workers', None)
            loader.pop('prefetch_factor', None)
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        name = osp.splitext(osp.basename(args.config))[0]
        cfg.work_dir = osp.join('work_dirs', name)
    return cfg


def merge_options(cfg: Config, options: Mapping[str, Any] | None) -> None:
    """Apply ``--cfg-options``; the config is changed in place.

    Args:
        cfg: The config.
        options: New values by dotted key, as ``DictAction`` reads them.

    Raises:
        UsageError: If a value would take the place of a dict, or lies below
            a value that is none.

    Example:
        >>> cfg = Config(dict(model=dict(backbone=dict(depth=12))))
        >>> merge_options(cfg, {'model.backbone.depth': 6})
        >>> cfg.model.backbone.depth
        6
    """
    for key, value in (options or {}).items():
        first, *rest = key.split('.')
        old = cfg.get(first)
        for name in rest:
            old = old.get(name) if isinstance(old, Mapping) else None
        if old and isinstance(old, Mapping) and not isinstance(value, Mapping):
            if value is not None:  # as in val_evaluator=None
                raise UsageError(
                    f'--cfg-options {key}={value} would replace all of '
                    f'{", ".join(old)}; name one of them, such as '
                    f'{key}.{next(iter(old))}=...'
                )
    try:
        cfg.merge_from_dict(options or {})
    except (KeyError, TypeError) as error:
        raise UsageError(f'--cfg-options: {error}') from error


def build_runner(cfg: Config, precision: str | None = None) -> Runner:
    """Build the runner that the config asks for.

    It loads strictly, and follows the config's schedule when it resumes.

    Args:
        cfg: Changed in place.
        precision: See :func:`~.precision.set_precision`.
    """
    chosen = set_precision(cfg, precision)
    always = dict(
        strict_loading=dict(type='StrictLoadingHook'),
        schedule=dict(type='ScheduleFromConfigHook'),
    )
    cfg.default_hooks = {**always, **(cfg.get('default_hooks') or {})}
    source = cfg.get('load_from')
    if isinstance(source, str) and source.startswith(zoo.WEB_SCHEMES):
        # MMEngine would take whatever the server answers for the weights.
        cfg.load_from = str(zoo.fetch(source))
    build = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
    runner = build(cfg)
    runner.logger.info(f'precision: {chosen or "as the config says"}')
    return runner


def leave_process_group() -> None:
    """End a distributed run whose work is done; alone, do nothing.

    Call it once nothing uses the runner any more.  A thread of gloo that
    still lets go of a tensor while Python ends brings the process down with
    ``terminate called without an active exception``, after all its work is
    done; torchrun then reports a failed run.  Gloo joins its threads when
    nothing refers to the group any more, and models refer to it in cycles.
    """
    if dist.is_distributed():
        dist.barrier()  # one that leaves early breaks what others still read
        gc.collect()
        torch.distributed.destroy_process_group()


def usable_device(name: str) -> str:
    """The name, if this machine has such a device.

    Args:
        name: As torch names it.

    Raises:
        UsageError: If it has not.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise UsageError(
            f'the device {name} cannot be used ({why}); cpu always can'
        ) from error
    return name


def run_or_explain(
    main: Callable[[], None],
    explained: tuple[type[Exception], ...] = (
        CheckpointError,
        ClassCountError,
        ListFileError,
        MissingFileError,
        NonFiniteLossError,
        PrecisionError,
        UsageError,
        zoo.ZooError,
    ),
) -> None:
    """Run a command line; a bad input ends it in one sentence, status 2.

    Args:
        main: What to run.
        explained: Errors whose message is all that a user needs.
    """
    try:
        main()
    except explained as error:
        print(f'error: {error}', file=sys.stderr)
        raise SystemExit(2) from None
