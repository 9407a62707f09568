# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Where a loss that is not finite comes from."""

import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any

import torch
from mmengine.logging import MessageHub
from torch import nn

from ca2st_mm.structures import as_flat, as_streams
from ca2st_mm.utils.finite import is_finite

UNKNOWN = 'unknown'
NAMES_OF_CLIPS = ('clip_id', 'filename')


def json_number(value: Any) -> float | str:
    """A number as JSON takes it: 'nan', 'inf' and '-inf' become text."""
    number = float(value)
    return number if math.isfinite(number) else str(number)


def clips_of(batch: Any) -> list[dict[str, Any]]:
    """The clips of a batch, and which of their inputs are not finite.

    Args:
        batch: As the data loader hands it out: ``inputs``, {stream: one
            entry a clip} or one entry a clip, and ``data_samples``.

    Returns:
        For each clip its ``clip_id`` and ``filename``, 'unknown' where the
        data sample lacks them, and the names of ``inputs_not_finite``.
    """
    inputs = batch['inputs']
    if isinstance(inputs, Mapping):
        inputs = as_flat(as_streams(inputs))
    else:
        inputs = dict(inputs=inputs)
    return [
        {
            **{key: sample.get(key) or UNKNOWN for key in NAMES_OF_CLIPS},
            'inputs_not_finite': [
                name for name, x in inputs.items() if not is_finite(x[index])
            ],
        }
        for index, sample in enumerate(batch['data_samples'])
    ]


def name_of(clip: Mapping[str, Any]) -> str:
    """The first known name of a clip of :func:`clips_of`."""
    known = (clip[key] for key in NAMES_OF_CLIPS)
    return next((name for name in known if name != UNKNOWN), UNKNOWN)


def last_steps(
    hub: MessageHub, iteration: int, count: int, names: Iterable[str]
) -> list[dict[str, Any]]:
    """What MMEngine noted in the last steps, the newest last.

    Args:
        hub: Holds one number a step under ``train/NAME``.
        iteration: Number of the newest step.
        count: How many steps.
        names: What to list; a name that is not noted is left out.
    """
    noted = {name: last_noted(hub, name, count) for name in names}
    first = iteration - count + 1
    return [
        dict(
            iteration=first + i,
            **{k: v[i] for k, v in noted.items() if len(v) == count},
        )
        for i in range(count)
    ]


def last_noted(hub: MessageHub, name: str, count: int) -> list[float | str]:
    """The last numbers under ``train/NAME``; none if there is no such name."""
    history = hub.log_scalars.get(f'train/{name}')
    if history is None:
        return []
    return [json_number(value) for value in history.data[0][-count:]]


def describe_weights(model: nn.Module) -> dict[str, Any]:
    """Whether parameters and buffers are finite, and the first that is not.

    Args:
        model: Its order of parameters is that of the search.
    """
    named = chain(model.named_parameters(), model.named_buffers())
    first = next((name for name, x in named if not is_finite(x)), None)
    return dict(finite=first is None, first_not_finite=first)


class ModuleSearch(AbstractContextManager):
    """Finds the first module that makes finite inputs not finite.

    While it is open, every module of a model looks at what it gets and
    gives.  A module is asked when it is done, so that the innermost one
    answers; a model that was compiled must run as written meanwhile.

    Args:
        model: The model; ``named_modules`` names the answer.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.found: dict[str, str] | None = None

    def __enter__(self) -> 'ModuleSearch':
        self._handles = [
            module.register_forward_hook(self._ask(name), with_kwargs=True)
            for name, module in self._model.named_modules()
        ]
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in self._handles:
            handle.remove()

    def _ask(self, name: str) -> Any:
        def ask(
            module: nn.Module, args: tuple, kwargs: dict, output: Any
        ) -> None:
            if self.found or is_finite(output):
                return
            if is_finite((args, kwargs)):
                # The model itself is named '' by PyTorch.
                self.found = dict(
                    name=name or 'the model', type=type(module).__name__
                )

        return ask


def run_again(
    model: nn.Module, wrapped: Any, data: Any, precision: Any
) -> dict[str, Any]:
    """Run a batch again without gradients and find where it goes wrong.

    Args:
        model: The model, in the mode of the step.
        wrapped: The same, as the runner holds it; all processes run it
            alike, as it may wait for the others.
        data: What the model was called with, but for ``mode``.
        precision: The context of the step's precision.

    Returns:
        ``inputs_finite``: whether the inputs were finite when they came out
        of the data preprocessor; ``loss``: that of this run;
        ``first_module``: name and type, None if no module makes finite
        inputs not finite; ``error``: why the batch could not run again.
    """
    found = dict(
        inputs_finite=is_finite(data),
        loss=UNKNOWN,
        first_module=None,
        error=None,
    )
    search = ModuleSearch(model)
    eager = torch.compiler.set_stance('force_eager')
    try:
        with eager, torch.no_grad(), precision, search:
            # Private, but what all of MMEngine's models and wrappers have.
            losses = wrapped._run_forward(data, mode='loss')
        found['loss'] = json_number(model.parse_losses(losses)[0])
    # Out of memory, or anything else: the rest is still told, and the other
    # processes wait for this one.
    except Exception as error:
        found['error'] = f'{type(error).__name__}: {error}'
    found['first_module'] = search.found
    return found


def advice(checkpoint: str | None) -> str:
    """How to go on from the last good checkpoint, if there is one."""
    if checkpoint is None:
        return (
            'There is no checkpoint with finite weights to resume from: mend '
            'the cause and start again'
        )
    return f'Mend the cause, then go on with --resume {checkpoint}'
