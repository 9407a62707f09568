# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checkpoints of training: whole, read strictly, without frozen parts."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from ca2st_mm import zoo
from ca2st_mm.checkpoints import (
    CheckpointError,
    detect_layout,
    open_checkpoint,
    unwrap,
)
from ca2st_mm.checkpoints.delta import (
    experts_in,
    fingerprint,
    frozen_parameters,
    without_frozen,
)
from ca2st_mm.checkpoints.files import (
    DamagedCheckpointError,
    UnsafeCheckpointError,
    check_sums,
    read_checkpoint,
)
from ca2st_mm.checkpoints.loading import fitting_weights
from ca2st_mm.checkpoints.reference import is_reference
from ca2st_mm.registry import HOOKS
from ca2st_mm.utils.errors import UsageError
from ca2st_mm.utils.files import written_whole

# What a run ended by a signal leaves; the next one takes its place.
INTERRUPTED = 'interrupted.pth'
# MMEngine's text file in the work folder that names the newest.
LAST = 'last_checkpoint'
OF_A_RUN = rf'(?:epoch|iter)_\d+\.pth|{re.escape(INTERRUPTED)}'
EMA = 'ema_state_dict'


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """Local files that appear all at once.

    MMEngine writes a checkpoint in place, so that a run killed meanwhile, or
    a full disk, leaves half of one under its final name.  For
    ``CheckpointHook``: ``backend_args=dict(backend='atomic')``.

    Example:
        >>> AtomicLocalBackend().put(b'all of it', 'epoch_1.pth')
        >>> Path('epoch_1.pth').read_bytes()
        b'all of it'
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; the file is the old or the new one at any moment."""
        try:
            # Of one process in a work folder, which is locked.
            with written_whole(filepath, alone=True) as part:
                with part.open('wb') as file:
                    file.write(obj)
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            error.filename = str(filepath)  # a full disk names none
            raise


def write_checkpoints_whole() -> None:
    """Have MMEngine write every local checkpoint of this process so.

    For command lines of ours: its strategies take no ``backend_args``.
    """
    register_backend('local', AtomicLocalBackend, force=True, prefixes='')


def type_name(node: Mapping[str, Any] | None, default: str = '') -> str:
    """The ``type`` of a dict in a config, without its scope or module."""
    kind = (node or {}).get('type', default)
    return getattr(kind, '__name__', str(kind)).rpartition('.')[2]


def is_deepspeed(cfg: Mapping[str, Any]) -> bool:
    """Whether the run uses DeepSpeed, whose own checkpoints we never load."""
    return type_name(cfg.get('strategy')) == 'DeepSpeedStrategy'


def way_on(cfg: Mapping[str, Any], path: str) -> str:
    """How training goes on from a checkpoint, for messages."""
    if is_deepspeed(cfg):
        return (
            'start anew with its weights, as DeepSpeed cannot be resumed: '
            f'--cfg-options load_from={path}'
        )
    return f'resume with --resume {path}'


def last_whole_checkpoint(
    work_dir: str | Path,
    finite: bool = False,
    cfg: Mapping[str, Any] | None = None,
) -> str | None:
    """The newest checkpoint of a run whose check sums are right.

    The one that ``last_checkpoint`` in the work folder names and those
    written before it; without this file the one of the most iterations.  What
    is cut or has changed is named in the log.

    Args:
        work_dir: The work folder.  Where ``last_checkpoint`` names a file of
            another folder or of another form, they are followed.
        finite: Whether all its weights have to be finite.
        cfg: The config of the run, for ``out_dir`` and ``filename_tmpl`` of
            its ``CheckpointHook``.

    Returns:
        Its path, or None if there is none.

    Raises:
        UsageError: If the checkpoints are not on a local disk.
    """
    hook = ((cfg or {}).get('default_hooks') or {}).get('checkpoint') or {}
    place, last = str(hook.get('out_dir') or ''), Path(work_dir, LAST)
    text = last.read_text().strip() if last.is_file() else ''
    for url in (place, text):
        if '://' in url:
            raise UsageError(
                f'the checkpoints of {work_dir} are not on a local disk but '
                f'in {url}; copy one and name it'
            )
    # A relative path stays one: each machine has its own.
    folder, named = Path(work_dir), Path(text)
    whole = os.path.abspath(work_dir)
    if place and place != whole:  # compared so by the hook
        folder = Path(place, os.path.basename(whole))
    template = re.escape(hook.get('filename_tmpl') or '')
    form = re.sub(r'\d+', r'\\d+', re.escape(named.name))
    template = re.sub(r'\\\{.*?\\\}', r'\\d+', template)

    def written_in(folder: Path) -> list[Path]:
        return [
            path
            for path in folder.glob('*')
            if re.fullmatch(f'{OF_A_RUN}|{template}|{form}', path.name)
            and path.is_file()
        ]

    found = written_in(folder)
    if text and folder / named.name not in found:
        if named.is_file() or not found:
            found = written_in(named.parent)

    def recency(path: Path) -> tuple:
        # Files without LAST are copies, whose times say little.
        first = path.name == named.name if text else _iteration(path)
        number = re.search(r'(\d+)\.', path.name)
        return first, path.stat().st_mtime, int(number[1]) if number else 0

    for path in sorted(found, key=recency, reverse=True):
        try:
            check_sums(path)
            weights = read_checkpoint(path).get('state_dict') if finite else ()
            if is_finite(weights):
                return str(path)
        except UnsafeCheckpointError:  # not read: of somebody's own hook
            return str(path)
        except CheckpointError as error:
            print_log(f'{error}; it is passed over', logger='current')
    return None


def _iteration(path: Path) -> int:
    """Iterations of training that a checkpoint says it has, or -1."""
    try:
        return (read_checkpoint(path).get('meta') or {}).get('iter', -1)
    except CheckpointError:
        return -1


def is_finite(value: Any) -> bool:
    """Whether all tensors in a value are finite; what is no tensor is.

    Example:
        >>> import torch
        >>> is_finite([torch.zeros(1), dict(a=torch.tensor(float('nan')))])
        False
    """
    if isinstance(value, Tensor):
        return bool(value.isfinite().all())
    if isinstance(value, Mapping):
        value = list(value.values())
    return not isinstance(value, (list, tuple)) or all(map(is_finite, value))


def load_from_file(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read a local checkpoint for MMEngine, in all the formats that we know.

    Those of the authors of CAST, CAVA and CA2ST get our names.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is damaged or would run code.
    """
    try:
        checkpoint = open_checkpoint(filename, map_location)
    except DamagedCheckpointError as error:
        if whole := last_whole_checkpoint(Path(filename).parent):
            raise DamagedCheckpointError(
                f'{error}; {whole} is whole'
            ) from error
        raise
    try:
        weights = unwrap(checkpoint)
    except ValueError:
        return checkpoint  # no weights inside: not one of theirs
    if not is_reference(weights):
        return checkpoint
    conversion = detect_layout(weights).convert(weights)
    lines = ['read as a checkpoint of the authors', *conversion.account()]
    print_log(f'{filename}: {"; ".join(lines)}', logger='current')
    return dict(state_dict=conversion.state_dict, meta={})


def register_schemes() -> None:
    """Have MMEngine read our formats and fetch what the zoo fetches.

    Schemes of other packages stay theirs.
    """
    schemes = CheckpointLoader._schemes
    if schemes.get('') is mmengine_checkpoint.load_from_local:
        CheckpointLoader.register_scheme('', load_from_file, force=True)
    for scheme in (zoo.SCHEME, zoo.HUB_SCHEME):
        if scheme not in schemes:
            CheckpointLoader.register_scheme(scheme, load_from_file)


register_schemes()


@HOOKS.register_module()
class StrictLoadingHook(Hook):
    """Refuse a checkpoint that does not fit the model.

    MMEngine loads what happens to fit.  Here missing or unexpected tensors,
    other shapes, NaN and infinite values are an error.  ``load_strict =
    False`` in the config, next to ``load_from``, lets fine-tuning begin from
    a model with another head: the log lists what does not fit.  The tools for
    training and testing add this hook to every run.

    Example:
        >>> HOOKS.build(dict(type='StrictLoadingHook')).priority
        'VERY_HIGH'
    """

    # Before EMAHook (NORMAL), which copies what is loaded.
    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights, and put them under their names in the model.

        Raises:
            CheckpointError: If they do not fit.
        """
        meta = checkpoint.get('meta')
        if isinstance(meta, dict):
            # Resuming would run this text as Python, only to look for the
            # number of GPUs of MMEngine's first releases.
            meta.pop('config', None)
        model = runner.model
        if isinstance(model, FullyShardedDataParallel):
            return  # no process has the whole model to compare with
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        strict = runner._resume or runner.cfg.get('load_strict', True)
        try:
            checkpoint['state_dict'] = fitting_weights(
                model, checkpoint, runner._load_from or 'the file', strict
            )
        except CheckpointError as error:
            # Another cause than tensors that differ: it cannot be read, or
            # holds NaN, which load_strict=False does not change.
            if runner._resume or error.__cause__ is not None:
                raise
            raise CheckpointError(
                f'{error}; to fine-tune from it nevertheless, with a new head '
                'for instance, add load_strict=False to the config'
            ) from error


@HOOKS.register_module()
class DeltaCheckpointHook(Hook):
    """Leave the frozen weights of the experts out of every checkpoint.

    A checkpoint of CAST then holds 45 M of 217 M parameters, and a
    fingerprint of each expert's frozen weights.  Every loading puts these back
    from the expert's ``init_cfg`` and refuses other ones; an expert without
    ``init_cfg`` is saved whole.  ``meta['frozen_experts']`` says where they
    came from.

    Example:
        >>> HOOKS.build(dict(type='DeltaCheckpointHook')).priority
        'LOW'
    """

    # After EMAHook (NORMAL), which swaps its averages into the checkpoint.
    priority = 'LOW'

    def __init__(self) -> None:
        self.fingerprints: dict[str, Tensor] = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember what ``init_cfg`` gave, before the file is loaded."""
        self.fingerprints = _fingerprints(runner.model)

    def before_train(self, runner: Runner) -> None:
        """Take the fingerprints once: frozen weights never change."""
        now = _fingerprints(runner.model)
        for name, value in self.fingerprints.items():
            if name in now and not torch.equal(now[name], value):
                # They could never be put back.
                del now[name]
                runner.logger.warning(
                    f'the frozen weights of {name} are no longer those of '
                    'its init_cfg, so checkpoints hold them'
                )
        self.fingerprints = now

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace frozen weights by fingerprints."""
        model = unwrapped(runner.model)
        experts = experts_in(model)
        prints = {
            name: value
            for name, value in self.fingerprints.items()
            if _stay_frozen(experts[name])
        }
        checkpoint['state_dict'] = without_frozen(
            model, checkpoint['state_dict'], prints
        )
        if EMA in checkpoint:
            checkpoint[EMA] = without_frozen(
                model, checkpoint[EMA], prints, prefix='module.'
            )
        checkpoint['meta']['frozen_experts'] = {
            name: dict(
                checkpoint=experts[name].init_cfg.get('checkpoint'),
                sha256=bytes(value.tolist()).hex(),
            )
            for name, value in prints.items()
        }


def _fingerprints(model: nn.Module) -> dict[str, Tensor]:
    """Of every expert that can get its frozen weights back, by its name."""
    return {
        name: fingerprint(expert)
        for name, expert in experts_in(unwrapped(model)).items()
        if expert.init_cfg is not None and _stay_frozen(expert)
    }


def _stay_frozen(expert: nn.Module) -> bool:
    """Whether there are frozen weights, and they are still frozen."""
    frozen = frozen_parameters(expert).values()
    return bool(frozen) and not any(p.requires_grad for p in frozen)


def unwrapped(model: nn.Module) -> nn.Module:
    """A model out of the wrapper that distributes it."""
    return model.module if is_model_wrapper(model) else model
