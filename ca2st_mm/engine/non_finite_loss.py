# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A loss that is not finite moves no weight, ends the run, is explained."""

from collections.abc import Mapping
from contextlib import nullcontext
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import all_gather_object, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ca2st_mm.registry import HOOKS
from ca2st_mm.structures import Stream

from .stall_watch import warn_from_any_rank
from .whole_checkpoints import is_finite, last_finite_checkpoint


class NonFiniteLossError(RuntimeError):
    """The loss was not finite too often; the message says where it begins."""


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Leave out steps whose loss is NaN or infinite; stop after a few.

    A step of the optimizer is left out if the loss of one of its
    micro-batches was not finite in any process: no weight moves, so that one
    broken clip costs one step and the cause can still be found.  The clips
    are named at once.  After ``patience`` such micro-batches in a row all
    processes stop; the error names the clips, the inputs, weights and the
    first module that are not finite, and the last good checkpoint.

    Optimizers that MMEngine's ``OptimWrapper`` does not step (DeepSpeed) are
    watched but not held back.

    Args:
        patience: Micro-batches in a row, at least 1.  A loss scaler skips
            steps with infinite gradients by itself; their loss is finite.

    Raises:
        ValueError: If ``patience`` is below 1.
        NonFiniteLossError: In training, in all processes alike.
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
        self._bad_clips: list[str] = []  # of each bad step in a row
        self._spoilt = False
        self._data: Any = None
        self._flag = _Flag()
        model = _unwrapped(runner.model)
        self._handles = [
            model.register_forward_pre_hook(self._keep, with_kwargs=True),
            model.register_forward_hook(self._look),
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

    def _keep(self, model: nn.Module, args: tuple, kwargs: dict) -> None:
        """Keep what a training step runs on, to run it again."""
        if kwargs.get('mode') == 'loss' and torch.is_grad_enabled():
            named = {k: v for k, v in kwargs.items() if k != 'mode'}
            self._data = args or named

    def _look(self, model: nn.Module, args: tuple, losses: Any) -> None:
        """Ask for the verdict while the backward pass is still to come.

        MMEngine reads the loss after the step of the optimizer, when a NaN
        has reached every trained weight.
        """
        if self._data is not None:
            with torch.no_grad():
                self._loss = model.parse_losses(losses)[0].detach()
            self._flag.send(~self._loss.isfinite())

    def _hold_back(self, optimizer: Any, args: tuple, kwargs: dict) -> None:
        """Take the gradients away; optimizers pass over weights without."""
        if self._spoilt or (self._data is not None and self._flag.read()):
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
        data, self._data = self._data, None
        if data is None:
            return
        bad = self._flag.read()  # known by now, without a wait
        # Gradients accumulate until the wrapper steps.
        self._spoilt = (self._spoilt or bad) and not (
            self._holds and runner.optim_wrapper.should_update()
        )
        if not bad:
            self._bad_clips.clear()
            return
        mine = not bool(self._loss.isfinite())
        self._bad_clips.append(name_clips(data_batch) if mine else '')
        self._warn(runner)
        if len(self._bad_clips) == self.patience:
            self._stop(runner, data)

    def _warn(self, runner: Runner) -> None:
        """Name the clips of a bad loss; rank 0 logs in any case."""
        clips = self._bad_clips[-1]
        if runner.rank and not clips:
            return
        whose = f'rank {runner.rank}' if clips else 'another rank'
        found = f'It was {self._loss.item()}. Clips: {clips}'
        warn_from_any_rank(
            runner.logger,
            f'The loss of {whose} is not finite in iteration '
            f'{runner.iter + 1} ({len(self._bad_clips)} in a row, the run '
            f'stops at {self.patience}); its step '
            f'{"is left out" if self._holds else "was trained on"}. '
            f'{found if clips else "That rank names its clips itself"}',
        )

    def _stop(self, runner: Runner, data: Any) -> None:
        """Raise, together with the other processes."""
        self.after_train(runner)
        checkpoint = last_finite_checkpoint(runner.work_dir)
        cause = self._find_cause(runner, data)
        told = all_gather_object([self._bad_clips, cause, runner.rank])
        causes = '; '.join(
            f'rank {rank}: {cause}; clips: {", ".join(filter(None, clips))}'
            for clips, cause, rank in told
            if any(clips)
        )
        last = runner.iter + 1
        raise NonFiniteLossError(
            f'The loss was not finite in iterations {last - self.patience + 1}'
            f' to {last}, so training stopped ({causes}). '
            + (
                f'Fix the cause, then resume with --resume {checkpoint}'
                if checkpoint
                else 'There is no checkpoint with finite weights to resume '
                'from: fix the cause and start again'
            )
        )

    def _find_cause(self, runner: Runner, data: Any) -> str:
        """What is not finite first: inputs, weights, or a module's output."""
        model = _unwrapped(runner.model)
        found = []
        if not is_finite(data):
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
                module = first_non_finite_module(model, runner.model, data)
        except Exception as error:  # for example, out of memory
            found.append(f'the batch cannot be run again ({error})')
        else:
            if module:
                found.append(f'the first module is {module}')
        return ', '.join(found) or 'it does not happen again'


class _Flag:
    """One bit, true if it is in any process, read without halting the device.

    On a GPU it travels to the host on a stream of its own from the end of
    the forward pass on: who reads it before the step of the optimizer waits
    for the forward pass only, not for the backward pass queued after it.
    """

    def __init__(self) -> None:
        self._stream: torch.cuda.Stream | None = None
        self._work: dist.Work | None = None
        self._value: Tensor | None = None

    def send(self, flag: Tensor) -> None:
        """Begin to find out; processes call it alike."""
        # int32: gloo and NCCL both reduce it.
        self._value, self._work = flag.reshape(1).int(), None
        if not flag.is_cuda:
            self._reduce()
            return
        if self._stream is None:
            self._stream = torch.cuda.Stream(flag.device)
        self._stream.wait_stream(torch.cuda.current_stream(flag.device))
        self._value.record_stream(self._stream)
        with torch.cuda.stream(self._stream):
            self._reduce()
            if self._work is not None:
                self._work.wait()  # the stream waits, not the host
            on_host = torch.empty(1, dtype=torch.int32, pin_memory=True)
            self._value = on_host.copy_(self._value, non_blocking=True)

    def _reduce(self) -> None:
        if get_world_size() > 1:
            self._work = dist.all_reduce(
                self._value, op=dist.ReduceOp.MAX, async_op=True
            )

    def read(self) -> bool:
        """Wait for the answer to the last :meth:`send`."""
        if self._stream is not None:
            self._stream.synchronize()
        elif self._work is not None:
            self._work.wait()
        return bool(self._value)


def name_clips(batch: Mapping[str, Any]) -> str:
    """The clips of a batch, and which of their inputs are not finite.

    Args:
        batch: As the data loader returns it: ``inputs``, {stream: one entry
            a clip} or one entry a clip, and ``data_samples``.

    Returns:
        Names (``clip_id``, else ``filename``), separated by commas.
    """
    inputs = batch['inputs']
    if not isinstance(inputs, Mapping):
        inputs = dict(inputs=inputs)
    names = []
    for index, sample in enumerate(batch['data_samples']):
        name = sample.get('clip_id') or sample.get('filename') or 'unknown'
        bad = [
            key for key, x in inputs.items() if not is_finite(_clip(x, index))
        ]
        names.append(f'{name} (not finite: {", ".join(bad)})' if bad else name)
    return ', '.join(names)


def _clip(batch: Any, index: int) -> Any:
    """One clip of the inputs of a batch."""
    if isinstance(batch, Stream):
        return batch.map(lambda part: part[index])
    return batch[index]


def first_non_finite_module(
    model: nn.Module, wrapped: Any, data: Any
) -> str | None:
    """Run a batch again and find the first module that breaks it.

    Args:
        model: The model, in the mode of the step.
        wrapped: The same, as the runner holds it.
        data: What the model was called with, but for ``mode``.

    Returns:
        Name and type of the innermost module that makes finite inputs not
        finite; None if none does.
    """
    found: list[str] = []

    def look(name: str, module: nn.Module, args: Any, output: Any) -> None:
        if not found and not is_finite(output) and is_finite(args):
            # PyTorch names the model itself ''.
            found.append(f'{name or "the model"} ({type(module).__name__})')

    handles = [
        module.register_forward_hook(
            lambda m, args, kwargs, out, name=name: look(
                name, m, (args, kwargs), out
            ),
            with_kwargs=True,
        )
        for name, module in model.named_modules()
    ]
    try:
        # A compiled model runs as written meanwhile.
        with torch.compiler.set_stance('force_eager'), torch.no_grad():
            # Private, but what all of MMEngine's models and wrappers have.
            wrapped._run_forward(data, mode='loss')
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def _unwrapped(model: Any) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
