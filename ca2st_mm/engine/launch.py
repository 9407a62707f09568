# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the command lines for training and testing have in common."""

import argparse
import errno
import gc
import os
import os.path as osp
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from mmaction.registry import RUNNERS
from mmengine import dist
from mmengine.config import Config, DictAction
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing

from ca2st_mm import zoo
from ca2st_mm.checkpoints import load_weights
from ca2st_mm.checkpoints.sharing import build_model
from ca2st_mm.utils.building import building, nodes
from ca2st_mm.utils.errors import UsageError, UserError
from ca2st_mm.utils.files import written_whole

from .checkpointing import (
    is_deepspeed,
    last_whole_checkpoint,
    type_name,
    write_checkpoints_whole,
)
from .interruption import Interrupted
from .learning_rate import LAUNCHERS
from .precision import set_precision
from .preflight import MissingFileError

# A disk that is full, over a quota, read-only or another's; below a file.
UNWRITABLE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES),
    *(errno.EPERM, errno.ENOTDIR),
)
CHUNK = 2**26  # bytes of a checkpoint that are sent at once


def read_config(
    path: str,
    options: Sequence[str] | Mapping[str, Any] | None = None,
    whole: bool = True,
) -> Config:
    """Read a config file and apply ``--cfg-options``.

    Args:
        path: The file.
        options: See :func:`merge_options`.
        whole: Whether it must have a model.

    Raises:
        MissingFileError: If there is no such file.
        UsageError: If it, or a file that it inherits from, cannot be read,
            or an option does not fit.
    """
    if not osp.isfile(path):
        raise MissingFileError(
            f'There is no config file {path}; configs/ holds ours'
        )
    try:
        cfg = Config.fromfile(path)
        if whole:
            for _ in nodes(cfg._cfg_dict, ''):
                pass  # imports what is imported lazily
    except UserError:
        raise
    except Exception as error:  # a config is code
        raise UsageError(_unreadable(path, error)) from error
    merge_options(cfg, options)
    if whole and not isinstance(cfg.get('model'), Mapping):
        raise UsageError(
            f'the config {path} has no model=dict(...); name a whole config, '
            'or a base that has one in its _base_'
        )
    return cfg


def _unreadable(path: str, error: Exception) -> str:
    """Where a config, or one that it inherits from, is wrong, and how."""
    chain, line = [osp.abspath(path)], None
    for frame, number in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_name
        if name in ('_file2dict', '_parse_lazy_import'):
            chain.append(osp.abspath(frame.f_locals['filename']))
        elif frame.f_code.co_filename == chain[-1]:
            line = number
    if isinstance(error, SyntaxError):
        line, text = error.lineno, f'syntax error, {error.msg}'
    else:
        text = f'{type(error).__name__}, {error}'
    if mark := getattr(error, 'problem_mark', None):  # of YAML
        line, text = mark.line + 1, error.problem
    if isinstance(error, ImportError):
        why = error.__cause__ or error
        text = f'{why}; install it, or put its folder into PYTHONPATH'
    elif not osp.exists(chain[-1]):
        missing, chain = chain[-1], chain[:-1]
        text = f'its _base_ {missing} is not there; correct the path'
    where = chain[-1] + (f', line {line}' if line else '')
    return f'cannot read the config {where}: {" ".join(text.split())}'


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the flags that training and testing share.

    Args:
        args: Parsed flags: ``config``, ``work_dir``, ``cfg_options``,
            ``launcher`` and ``local_rank``.

    Raises:
        UserError: If config, options, work folder or launcher do not fit.
    """
    for name in ('WORLD_SIZE', 'RANK', 'LOCAL_RANK'):
        if os.environ.get(name) == '':  # as some schedulers set them
            del os.environ[name]
    processes = os.environ.get('WORLD_SIZE', '1')
    if args.launcher == 'none':
        if processes != '1' and 'TORCHELASTIC_RUN_ID' in os.environ:
            raise UsageError(
                f'torchrun started {processes} processes, but each would run '
                'alone and write over the others; add --launcher pytorch'
            )
    else:
        program, variable, _ = LAUNCHERS[args.launcher]
        if variable not in os.environ:
            raise UsageError(
                f'--launcher {args.launcher} is for processes that {program} '
                f'starts, but {variable} is not set; start the tool with '
                f'{program}, or leave the flag out'
            )
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.launcher != 'none' and not torch.cuda.is_available():
        # Processes that share no GPU.
        wrapper = dict(type='MMDistributedDataParallel', device_ids=None)
        ddp = type_name(cfg.get('strategy')) == 'DDPStrategy'
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
    if osp.isfile(cfg.work_dir):
        raise UsageError(
            f'{cfg.work_dir} is a file; name a folder with --work-dir'
        )
    return cfg


def merge_options(
    cfg: Config, options: Mapping[str, Any] | Sequence[str] | None
) -> None:
    """Apply ``--cfg-options``; the config is changed in place.

    Args:
        cfg: The config.
        options: New values by dotted key, or ``KEY=VALUE``, which
            ``DictAction`` reads.

    Raises:
        UsageError: If an option cannot be read or does not fit.

    Example:
        >>> cfg = Config(dict(model=dict(backbone=dict(depth=12))))
        >>> merge_options(cfg, {'model.backbone.depth': 6})
        >>> cfg.model.backbone.depth
        6
    """
    if options and not isinstance(options, Mapping):
        given = argparse.Namespace()
        action = DictAction(['--cfg-options'], 'options')
        try:
            action(argparse.ArgumentParser(), given, options)
        except (ValueError, AssertionError) as error:
            raise UsageError(
                f'--cfg-options {" ".join(options)}: write KEY=VALUE ..., '
                'such as train_dataloader.batch_size=4 or key="[a,b]"'
            ) from error
        options = given.options
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


def join_processes(cfg: Config) -> None:
    """Have the processes of a distributed run know of each other.

    The process of rank 0 decides from here on.  A runner would do this, but
    only after it has chosen its work folder and checkpoint.
    """
    if cfg.launcher != 'none' and not dist.is_distributed():
        env = cfg.get('env_cfg') or {}
        set_multi_processing(**env.get('mp_cfg', {}), distributed=True)
        dist.init_dist(cfg.launcher, **env.get('dist_cfg', {}))
        cfg.work_dir = decided_by_main(lambda: cfg.work_dir)


def decided_by_main(decide: Callable[[], Any]) -> Any:
    """Have rank 0 decide for all processes, which call it together.

    Args:
        decide: Called by rank 0 alone.

    Returns:
        What it returned, in all processes.

    Raises:
        UserError: If rank 0 refused, in all processes alike.
        OSError: Likewise.
    """
    found: list[Any] = [None, None]
    if dist.is_main_process():
        try:
            found[0] = decide()
        except (UserError, OSError) as error:
            found[1] = error
    dist.broadcast_object_list(found)
    decision, refusal = found
    if refusal:
        dist.barrier()  # one that leaves early breaks what others still read
        raise refusal
    return decision


def resume(cfg: Config, checkpoint: str | None) -> None:
    """Resume from a checkpoint that rank 0 chooses and all read.

    Machines that share no disk with it are sent the file, into the same
    folder.

    Args:
        cfg: Changed in place.
        checkpoint: A path; 'auto': the newest whole one of the run; None:
            what ``resume`` and ``load_from`` of the config say.

    Raises:
        UsageError: If there is no such file, or the run uses DeepSpeed.
    """
    said = checkpoint or cfg.get('resume')
    if not said:
        return
    if said is True:
        said = cfg.get('load_from') or 'auto'
    if is_deepspeed(cfg):
        raise UsageError(
            'DeepSpeed runs the code that its checkpoints name and MMEngine '
            'would leave out an epoch, so such a run cannot be resumed; '
            'start it anew, or train with DDP or FSDP'
        )

    def choose() -> str | None:
        if said == 'auto':
            return last_whole_checkpoint(cfg.work_dir, cfg=cfg)
        if not osp.isfile(said):
            raise UsageError(f'there is no checkpoint {said} to resume')
        return said

    path = decided_by_main(choose)
    cfg.resume = path is not None
    if cfg.resume:
        cfg.load_from = path
        _share(Path(path))
    elif dist.is_main_process():
        # MMEngine would take the last one, whole or not.
        print(
            f'{cfg.work_dir} has no whole checkpoint to resume from; '
            'training starts from the beginning'
        )


def _share(path: Path) -> None:
    """Send a file of rank 0 to the machines that have another or none."""
    stat = path.stat() if path.is_file() else None
    mine = stat and (stat.st_size, stat.st_mtime_ns)
    found = dist.all_gather_object(mine)
    if all(other == found[0] for other in found):
        return
    size, time = found[0]
    main = dist.is_main_process()
    writes = mine != found[0] and os.environ.get('LOCAL_RANK', '0') == '0'
    with ExitStack() as stack:
        if main:
            file = stack.enter_context(path.open('rb'))
        else:
            part = Path(os.devnull)
            if writes:
                part = stack.enter_context(written_whole(path))
            file = stack.enter_context(part.open('wb'))
        for _ in range(0, size, CHUNK):
            chunk = [file.read(CHUNK) if main else None]
            dist.broadcast_object_list(chunk)
            if not main:
                file.write(chunk[0])
    if writes:
        os.utime(path, ns=(time, time))
    dist.barrier()


def build_runner(
    cfg: Config, precision: str | None = None, trains: bool = True
) -> Runner:
    """Build the runner that the config asks for.

    It loads strictly, and follows the config's schedule when it resumes.

    Args:
        cfg: Changed in place.
        precision: See :func:`~.precision.set_precision`.
        trains: Whether it is to train, not only to test.
    """
    write_checkpoints_whole()
    chosen = set_precision(cfg, precision, trains)
    always = dict(
        strict_loading=dict(type='StrictLoadingHook'),
        schedule=dict(type='ScheduleFromConfigHook'),
    )
    cfg.default_hooks = {**always, **(cfg.get('default_hooks') or {})}
    if is_deepspeed(cfg) and 'checkpoint' in cfg.default_hooks:
        cfg.default_hooks.checkpoint.save_optimizer = False
    source = cfg.get('load_from')
    if isinstance(source, str) and source.startswith('http'):
        # MMEngine would take whatever the server answers for the weights.
        cfg.load_from = str(zoo.fetch(source))
    build = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
    with building(cfg):
        runner = build(cfg)
    if is_deepspeed(cfg) and runner._load_from:
        # Its engine reads folders of its own, and runs what they name.
        runner.model = build_model(cfg)
        runner.model.init_weights()
        strict = cfg.get('load_strict', True)
        load_weights(runner.model, runner._load_from, strict)
        runner._load_from = None
    runner.logger.info(f'precision: {chosen or "as the config says"}')
    return runner


def leave_process_group() -> None:
    """End a distributed run whose work is done; alone, do nothing.

    Call it once nothing uses the runner any more.  A thread of gloo that is
    busy while Python ends would abort the process.
    """
    if dist.is_distributed():
        dist.barrier()  # one that leaves early breaks what others still read
        gc.collect()  # models refer to the group in cycles
        torch.distributed.destroy_process_group()


def usable_device(name: str) -> str:
    """The name, as torch has it, if this machine has such a device.

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
    main: Callable[[], None], *explained: type[Exception]
) -> None:
    """Run a command line; what a user can repair ends it in one sentence.

    Exit status: 2 for bad input and for a disk that is full or cannot be
    written, 130 after Ctrl-C, 128 + the number of the signal for an
    interrupted training, 1 if that cannot be resumed.

    Args:
        main: What to run.
        *explained: Errors whose message is all that a user needs, besides
            :class:`UserError`.
    """
    try:
        main()
        return
    except Interrupted as stop:
        text, status = str(stop), stop.status
        traceback.clear_frames(stop.__traceback__)  # they hold the runner
    except KeyboardInterrupt:
        # Other processes are not waited for: they may not have been stopped.
        print('stopped by Ctrl-C', file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except (UserError, *explained) as error:
        text, status = f'error: {error}', 2
        # Of the system, with a number.
        if getattr(error, 'strerror', None) and error.filename:
            text = f'error: {error.filename}: {error.strerror}'
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        where, status = error.filename or 'a file of the run', 2
        text = f'error: {where}: {error.strerror}; what was saved is whole'
    if status == 2 or dist.is_main_process():
        print(text, file=sys.stderr)
    if status != 2:
        leave_process_group()
    raise SystemExit(status)
