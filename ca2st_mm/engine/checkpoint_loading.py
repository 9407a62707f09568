# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How MMEngine loads checkpoints: more formats and places, and strictly."""

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch.distributed.fsdp import FullyShardedDataParallel

from ca2st_mm import zoo
from ca2st_mm.checkpoints import (
    CheckpointError,
    from_reference,
    open_checkpoint,
    unwrap,
)
from ca2st_mm.checkpoints.files import DamagedCheckpointError
from ca2st_mm.checkpoints.loading import fitting_weights
from ca2st_mm.checkpoints.reference import is_reference
from ca2st_mm.registry import HOOKS

from .whole_checkpoints import last_whole_checkpoint


def load_from_file(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read a local checkpoint: all that MMEngine reads, and more.

    More are safetensors, TorchScript, sharded checkpoints, and those of the
    authors of CAST, CAVA and CA2ST, whose names become ours.

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
    conversion = from_reference(weights)
    lines = ['read as a checkpoint of the authors', *conversion.account()]
    print_log(f'{filename}: {"; ".join(lines)}', logger='current')
    return dict(state_dict=conversion.state_dict, meta={})


def register_schemes() -> None:
    """Have MMEngine read our formats and fetch what the zoo fetches.

    Schemes of other packages stay theirs, and so do MMEngine's own, but for
    local files: our reader takes all that MMEngine's takes.
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
