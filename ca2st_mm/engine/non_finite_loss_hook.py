# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A loss that is not finite moves no weight, ends the run, is explained."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from ca2st_mm.registry import HOOKS
from ca2st_mm.utils.records import write_record

from .loss_watch import LossWatch
from .non_finite_report import (
    UNKNOWN,
    advice,
    clips_of,
    describe_weights,
    last_noted,
    last_steps,
    name_of,
    run_again,
)
from .random_state_hook import (
    State,
    random_state,
    set_random_state,
)
from .rank_warning import warn_from_any_rank
from .whole_checkpoints import last_finite_checkpoint

STEPS_TOLD = 20


class NonFiniteLossError(RuntimeError):
    """The loss was not finite too often; the message says what to read."""


@dataclass
class Forward:
    """What a step computes its loss from."""

    data: Any
    random_state: State


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Stop a run whose loss is NaN or infinite, and say where it begins.

    A step of the optimizer is left out if the loss of one of its
    micro-batches was not finite in any process: no weight moves, so that one
    broken clip costs one step and the cause can still be found.  After
    ``patience`` such micro-batches in a row every process writes
    ``non_finite_loss_rank<R>.json`` into the folder of the run's log and
    stops.  It holds

    - ``bad_steps``: the loss and the clips of each of them, and the inputs
      of a clip that are not finite themselves;
    - ``last_steps``: at most 20, with losses and learning rates, and
      ``grad_norms``, one a step of the optimizer, where it clips them;
    - ``weights``: whether all are finite, and the first that is not;
    - ``run_again``: the last batch once more, with the same random numbers
      and precision, and the first module that made finite inputs not finite.

    Iterations count from 1, as in the names of checkpoints.  Optimizers that
    MMEngine's ``OptimWrapper`` does not step (DeepSpeed) are watched but not
    held back: ``bad_steps_left_out`` in the report is false.

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
        """Look on at the model and at the optimizer."""
        self._first_iteration = runner.iter + 1
        self._bad_steps: list[dict[str, Any]] = []
        self._spoilt = False
        self._forward: Forward | None = None
        self._watch = LossWatch()
        model = _bare(runner.model)
        self._handles = [
            model.register_forward_pre_hook(self._remember, with_kwargs=True),
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
        """Let go of both."""
        for handle in self._handles:
            handle.remove()

    def _remember(self, model: nn.Module, args: tuple, kwargs: dict) -> None:
        """Note what a training step runs on; nothing is copied.

        ``train_step`` keeps the batch as long as this does.  The batch of
        the data loader would not do to repeat a step: blending changes its
        labels in place.
        """
        if kwargs.get('mode') == 'loss' and torch.is_grad_enabled():
            named = {k: v for k, v in kwargs.items() if k != 'mode'}
            self._forward = Forward(args or named, random_state())

    def _look(self, model: nn.Module, args: tuple, losses: Any) -> None:
        """Ask for the verdict while the backward pass is still to come.

        MMEngine reads the loss after the step of the optimizer, when a NaN
        has reached every trained weight; reading it before would have the
        device wait for the host.
        """
        if self._forward is not None:
            with torch.no_grad():
                loss, _ = model.parse_losses(losses)
            self._watch.look_at(loss)

    def _hold_back(self, optimizer: Any, args: tuple, kwargs: dict) -> None:
        """Take the gradients away; optimizers pass over weights without."""
        if self._spoilt or (self._forward and self._watch.found()):
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
        forward, self._forward = self._forward, None
        if forward is None:
            return
        found = self._watch.found()  # known by now, without a wait
        # Gradients accumulate until the wrapper steps.
        self._spoilt = (self._spoilt or found) and not (
            self._holds and runner.optim_wrapper.should_update()
        )
        if not found:
            self._bad_steps.clear()
            return
        self._bad_steps.append(
            dict(
                iteration=runner.iter + 1,
                loss=last_noted(runner.message_hub, 'loss', 1)[-1],
                clips=clips_of(data_batch),
            )
        )
        self._warn(runner)
        if len(self._bad_steps) == self.patience:
            self._stop(runner, forward, outputs)

    def _warn(self, runner: Runner) -> None:
        """Name the clips of a bad loss; rank 0 speaks in any case."""
        step = self._bad_steps[-1]
        guilty = isinstance(step['loss'], str)
        if runner.rank and not guilty:
            return
        whose = f' of rank {runner.rank}' if runner.world_size > 1 else ''
        clips = ', '.join(map(name_of, step['clips']))
        warn_from_any_rank(
            runner.logger,
            f'The loss{whose if guilty else " of another rank"} is not finite '
            f'in iteration {step["iteration"]} ({len(self._bad_steps)} in a '
            f'row, the run stops at {self.patience}); '
            f'{"its step is left out" if self._holds else "it was trained on"}'
            + (
                f'. It was {step["loss"]}. Clips: {clips}'
                if guilty
                else '. That rank names its clips in its own output'
            ),
        )

    def _stop(self, runner: Runner, forward: Forward, outputs: dict) -> None:
        """Write the report and raise, together with the other processes."""
        self.after_train(runner)
        path = Path(runner.log_dir) / f'non_finite_loss_rank{get_rank()}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        write_record(path, self._report(runner, forward, outputs))
        guilty = any(isinstance(step['loss'], str) for step in self._bad_steps)
        checkpoint = last_finite_checkpoint(runner.work_dir)
        # Nobody leaves before all are ready: a launcher ends the others when
        # the first process fails.
        told = all_gather_object(dict(guilty=guilty, path=str(path)))
        reports = ', '.join(one['path'] for one in told if one['guilty'])
        first, last = (self._bad_steps[i]['iteration'] for i in (0, -1))
        raise NonFiniteLossError(
            f'The loss was not finite in {self.patience} steps in a row '
            f'(iterations {first} to {last}), so training stopped. Their '
            f'clips and the first module that is not finite are in {reports}. '
            + advice(checkpoint)
        )

    def _report(
        self, runner: Runner, forward: Forward, outputs: dict
    ) -> dict[str, Any]:
        model, hub = _bare(runner.model), runner.message_hub
        wrapper = runner.optim_wrapper
        iteration = runner.iter + 1
        count = min(STEPS_TOLD, iteration - self._first_iteration + 1)
        names = [*outputs, *wrapper.get_lr()]
        norms = last_noted(hub, 'grad_norm', STEPS_TOLD)
        weights = describe_weights(model)
        set_random_state(forward.random_state)
        return dict(
            rank=get_rank(),
            bad_steps=self._bad_steps,
            last_steps=last_steps(hub, iteration, count, names),
            grad_norms=norms or UNKNOWN,
            weights=weights,
            bad_steps_left_out=self._holds,
            optim_wrapper=type(wrapper).__name__,
            run_again=run_again(
                model,
                runner.model,
                forward.data,
                self._precision(runner),
            ),
        )

    def _precision(self, runner: Runner) -> AbstractContextManager:
        """The context that the forward pass of a step runs in."""
        if self._holds:
            return runner.optim_wrapper.optim_context(runner.model)
        return nullcontext()  # DeepSpeed's engine casts by itself


def _bare(model: Any) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
