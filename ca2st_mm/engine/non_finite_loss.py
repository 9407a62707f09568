# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A loss that is not finite moves no weight, ends the run, is explained."""

from collections.abc import Mapping
from contextlib import nullcontext
from itertools import chain
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from ca2st_mm.registry import HOOKS
from ca2st_mm.structures import as_streams
from ca2st_mm.utils.errors import UserError

from .checkpointing import (
    is_finite,
    last_whole_checkpoint,
    unwrapped,
    way_on,
)


class NonFiniteLossError(UserError, RuntimeError):
    """The loss was not finite too often; the message says where it begins."""


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Leave out steps whose loss is NaN or infinite; stop after a few.

    A step of the optimizer is left out if the loss of one of its
    micro-batches was not finite in any process, and the clips are named.
    After ``patience`` such micro-batches in a row all processes stop; the
    error names the clips, the inputs, weights and the first module that are
    not finite, and the last good checkpoint.

    Optimizers that MMEngine's ``OptimWrapper`` does not step (DeepSpeed) are
    watched but not held back.

    Args:
        patience: Micro-batches in a row, at least 1.  A loss scaler skips
            steps with infinite gradients by itself; their loss is finite.

    Raises:
        NonFiniteLossError: In training, in all processes alike.

    Example:
        >>> default_hooks = dict(
        ...     non_finite_loss=dict(type='NonFiniteLossHook', patience=5))
    """

    # After the LoggerHook, which logs the step; before CheckpointHook.
    priority = 'LOW'

    def __init__(self, patience: int = 3) -> None:
        if patience < 1:
            raise ValueError(
                f'patience of NonFiniteLossHook is {patience}; it counts '
                'steps and is at least 1'
            )
        self.patience = patience
        self._handles: list[Any] = []

    def before_train(self, runner: Runner) -> None:
        """Hook into the model and the optimizer."""
        self._row: list[dict[int, str]] = []  # clips of bad losses, by rank
        self._spoilt = False  # the step that gradients accumulate for
        self._batch: Any = None  # what the model has just been called with
        model = unwrapped(runner.model)
        self._handles = [
            model.register_forward_hook(self._look, with_kwargs=True)
        ]
        # What runs DeepSpeed steps otherwise.
        self._holds = isinstance(runner.optim_wrapper, OptimWrapper)
        if self._holds:
            optimizer = runner.optim_wrapper.optimizer
            self._handles.append(
                optimizer.register_step_pre_hook(self._hold_back)
            )

    def after_train(self, runner: Runner) -> None:
        """Take the hooks out again."""
        for handle in self._handles:
            handle.remove()

    def _look(
        self, model: nn.Module, args: tuple, kwargs: dict, losses: Any
    ) -> None:
        """Judge the loss before the backward pass; MMEngine reads it after."""
        if kwargs.get('mode') != 'loss' or not torch.is_grad_enabled():
            return
        self._batch = args or {k: kwargs[k] for k in kwargs if k != 'mode'}
        with torch.no_grad():
            self._loss = model.parse_losses(losses)[0].detach()
        bad = (~self._loss.isfinite()).int()
        all_reduce(bad, 'max')
        self._bad = bool(bad)
        self._spoilt |= self._bad

    def _hold_back(self, optimizer: Any, args: tuple, kwargs: dict) -> None:
        """Take the gradients away; optimizers pass over weights without."""
        if self._spoilt:
            optimizer.zero_grad(set_to_none=True)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Count; all processes count the same.

        Raises:
            NonFiniteLossError: If patience is at its end.
        """
        batch, self._batch = self._batch, None
        if batch is None:
            return
        if not self._holds or runner.optim_wrapper.should_update():
            self._spoilt = False
        if not self._bad:
            self._row.clear()
            return
        mine = not bool(self._loss.isfinite())
        found = all_gather_object(name_clips(data_batch) if mine else '')
        self._row.append({r: clips for r, clips in enumerate(found) if clips})
        clips = [f'rank {r}: {clips}' for r, clips in self._row[-1].items()]
        runner.logger.warning(
            f'The loss is not finite in iteration {runner.iter + 1} '
            f'({len(self._row)} in a row, the run stops at {self.patience}); '
            f'its step {"is left out" if self._holds else "was trained on"}. '
            f'Clips of {"; ".join(clips)}'
        )
        if len(self._row) == self.patience:
            self._stop(runner, batch)

    def _stop(self, runner: Runner, batch: Any) -> None:
        """Raise, together with the other processes."""
        self.after_train(runner)
        causes = all_gather_object(self._find_cause(runner, batch))
        told = []
        for rank, cause in enumerate(causes):
            clips = [bad[rank] for bad in self._row if rank in bad]
            if clips:
                told.append(f'rank {rank}: {cause}; clips: {", ".join(clips)}')
        checkpoint = last_whole_checkpoint(
            runner.work_dir, finite=True, cfg=runner.cfg
        )
        last = runner.iter + 1
        raise NonFiniteLossError(
            f'The loss was not finite in iterations {last - self.patience + 1}'
            f' to {last}, so training stopped ({"; ".join(told)}). '
            + (
                f'Fix the cause, then {way_on(runner.cfg, checkpoint)}'
                if checkpoint
                else 'There is no checkpoint with finite weights to go on '
                'from: fix the cause and start again'
            )
        )

    def _find_cause(self, runner: Runner, batch: Any) -> str:
        """What is not finite first: inputs, weights, or a module's output."""
        model = unwrapped(runner.model)
        found = []
        if not is_finite(batch):
            found.append('the inputs of the model are not finite')
        named = chain(model.named_parameters(), model.named_buffers())
        if bad := next((n for n, x in named if not is_finite(x)), None):
            found.append(f'the weight {bad} is not finite')
        precision = nullcontext()  # DeepSpeed's engine casts by itself
        if self._holds:
            precision = runner.optim_wrapper.optim_context(runner.model)
        try:
            # All processes run it, as it may wait for the others.
            with precision:
                module = _first_non_finite_module(runner.model, batch)
        except Exception as error:  # for example, out of memory
            found.append(f'the batch cannot be run again ({error})')
        else:
            if module:
                found.append(f'the first module is {module}')
        return ', '.join(found) or 'it does not happen again'


def name_clips(batch: Mapping[str, Any]) -> str:
    """The clips of a batch, and which of their inputs are not finite.

    Names (``clip_id``, else ``filename``), separated by commas.  ``inputs``
    of the batch are {stream: one entry a clip} or one entry a clip.
    """
    inputs = batch['inputs']
    if not isinstance(inputs, Mapping):
        inputs = dict(inputs=inputs)
    names = []
    for index, sample in enumerate(batch['data_samples']):
        name = sample.get('clip_id') or sample.get('filename') or 'unknown'
        bad = [
            key
            for key, stream in as_streams(inputs).items()
            if not is_finite(stream.map(lambda part, i=index: part[i]))
        ]
        names.append(f'{name} (not finite: {", ".join(bad)})' if bad else name)
    return ', '.join(names)


def _first_non_finite_module(wrapped: Any, batch: Any) -> str | None:
    """Run a batch again; the innermost module that spoils finite inputs."""
    names = {m: name for name, m in unwrapped(wrapped).named_modules()}
    found: list[str] = []

    def look(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if found or module not in names or is_finite(output):
            return
        if is_finite((args, kwargs)):
            # PyTorch names the model itself ''.
            name = names[module] or 'the model'
            found.append(f'{name} ({type(module).__name__})')

    # A compiled model runs as written meanwhile.
    with (
        register_module_forward_hook(look, with_kwargs=True),
        torch.compiler.set_stance('force_eager'),
        torch.no_grad(),
    ):
        # Private, but what all of MMEngine's models and wrappers have.
        wrapped._run_forward(batch, mode='loss')
    return found[0] if found else None
