# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""In which precision a model trains and runs."""

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmaction.registry import LOOPS, OPTIM_WRAPPERS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import nn

from ca2st_mm.utils.errors import UsageError, check_choice

from .checkpointing import type_name

PRECISIONS = ('auto', 'lower', 'float32', 'bfloat16', 'float16')
# Strategies that run a model under autocast.
AUTOCAST = (
    'SingleDeviceStrategy',
    'DDPStrategy',
    'FSDPStrategy',
    'MultiExpertFSDPStrategy',
)
# Wrappers of the optimizer that differ in nothing but the precision.
WRAPPERS = {
    'float32': 'OptimWrapper',
    'bfloat16': 'BFloat16OptimWrapper',
    'float16': 'AmpOptimWrapper',
}


def multiplies_bfloat16(device: str | torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself.

    CUDA devices of compute capability 8.0 and above, CPUs with AMX,
    AVX512-BF16 or the bfloat16 instructions of ARM.

    Example:
        >>> multiplies_bfloat16('meta')
        False
    """
    kind = torch.device(device).type
    if kind == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != 'cpu':
        return False
    if hasattr(torch.cpu, 'get_capabilities'):  # newer than torch 2.10; ARM
        known = torch.cpu.get_capabilities()
        names = ('amx_bf16', 'avx512_bf16', 'bf16')
        return any(known.get(name) for name in names)
    return (
        torch.cpu._is_amx_tile_supported()
        or torch.cpu._is_avx512_bf16_supported()
    )


def choose_precision(wanted: str, device: str | torch.device) -> str:
    """The precision on a device: 'float32', 'bfloat16' or 'float16'.

    Args:
        wanted: One of ``PRECISIONS``. 'auto' is bfloat16 where the hardware
            multiplies it, else float32; 'lower' bfloat16, but float16 on a
            GPU that does not multiply it.
        device: Where the model runs.

    Raises:
        UsageError: If there is no such precision, or not on the device.

    Example:
        >>> choose_precision('float32', 'cpu')
        'float32'
    """
    check_choice('precision', wanted, PRECISIONS)
    on_cpu = torch.device(device).type == 'cpu'
    if wanted in ('auto', 'lower'):
        if multiplies_bfloat16(device) or (on_cpu and wanted == 'lower'):
            return 'bfloat16'
        return 'float32' if wanted == 'auto' else 'float16'
    if wanted == 'float16' and on_cpu:
        raise UsageError(
            'precision float16 needs a GPU; take bfloat16 or float32 on a CPU'
        )
    return wanted


def autocast(precision: str, device: str | torch.device) -> torch.autocast:
    """A context in which a model computes in a chosen precision.

    Args:
        precision: What :func:`choose_precision` returned.
        device: Where the model runs.

    Example:
        >>> with autocast('bfloat16', 'cpu'):
        ...     nn.Linear(4, 2)(torch.zeros(1, 4)).dtype
        torch.bfloat16
    """
    kind = torch.device(device).type
    if precision == 'float32':
        return torch.autocast(kind, enabled=False)
    return torch.autocast(kind, getattr(torch, precision))


def set_precision(
    cfg: Config, wanted: str | None = None, trains: bool = True
) -> str | None:
    """Have a run train, validate and test in one precision.

    Args:
        cfg: Changed in place: the optimizer wrapper, and ``fp16`` of the
            loops, which is MMEngine's name for any lower precision.
        wanted: One of ``PRECISIONS``; None for what the config says: its
            wrapper, if that has a lower precision, else ``precision``.
        trains: Whether the optimizer wrapper is used.

    Returns:
        The precision; None if the config runs as it is written.

    Raises:
        UsageError: If it does not fit the config or the device.
    """
    said = wanted or cfg.get('precision')
    wrapper = (cfg.get('optim_wrapper') if trains else None) or {}
    kind = type_name(wrapper, WRAPPERS['float32'])
    device = get_device()
    own = _precision_of_its_own(cfg, wrapper, kind)
    if own and wanted:
        raise UsageError(
            f'{own} of the config has a precision of its own; leave '
            f'--precision {wanted} out'
        )
    if said is None or own:
        if wrapper and not own and kind == WRAPPERS['float32']:
            _check_frozen_dtype(cfg, 'float32')
        return None
    if not wanted and kind != WRAPPERS['float32']:
        [said] = [name for name, known in WRAPPERS.items() if known == kind]
        said = str(wrapper.get('dtype') or said).removeprefix('torch.')
    precision = choose_precision(said, device)
    _check_frozen_dtype(cfg, precision)
    if wrapper and wanted:
        wrapper.pop('dtype', None)  # the config's own
    if wrapper and kind != WRAPPERS[precision]:
        wrapper.type = WRAPPERS[precision]
        for option in ('dtype', 'loss_scale', 'use_fsdp'):  # of AMP's
            wrapper.pop(option, None)
    for name, loop in (('val_cfg', 'ValLoop'), ('test_cfg', 'TestLoop')):
        if cfg.get(name) is None:
            continue
        kind = cfg[name].get('type', loop)
        kind = LOOPS.get(kind) if isinstance(kind, str) else kind
        options = inspect.signature(kind).parameters.values() if kind else ()
        if any(o.name == 'fp16' or o.kind is o.VAR_KEYWORD for o in options):
            cfg[name].fp16 = precision != 'float32'
        elif precision != 'float32':
            print_log(
                f'the loop of {name} has no option fp16 and runs in float32, '
                f'not in {precision}',
                logger='current',
                level=logging.WARNING,
            )
    if precision != 'float32':  # MMEngine's loops take the default type
        torch.set_autocast_dtype(device, getattr(torch, precision))
    return precision


def _precision_of_its_own(cfg: Config, wrapper: dict, kind: str) -> str | None:
    """What of the config has one, by its name."""
    strategy = cfg.get('strategy') or {}
    if (name := type_name(strategy, AUTOCAST[0])) not in AUTOCAST:
        return name
    if (strategy.get('model_wrapper') or {}).get('mixed_precision'):
        return 'mixed_precision'
    if wrapper and 'optimizer' not in wrapper:
        return 'optim_wrapper, of several optimizers,'
    return kind if kind not in WRAPPERS.values() else None


def _check_frozen_dtype(cfg: Config, precision: str) -> None:
    """Refuse what would end in the first iteration."""
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    frozen = backbone.get('frozen_dtype', 'float32')
    if precision == 'float32' and frozen != 'float32':
        raise UsageError(
            f"frozen_dtype='{frozen}' needs mixed precision, and this run "
            'would be in float32; add --precision bfloat16, or '
            '--cfg-options model.backbone.frozen_dtype=float32'
        )


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """An ``OptimWrapper`` that runs the forward pass in bfloat16.

    On a CPU too, where MMEngine's ``AmpOptimWrapper`` refuses to start; no
    loss scaling is needed.  Takes the arguments of ``OptimWrapper``.

    Example:
        >>> model = nn.Linear(4, 2)
        >>> wrapper = BFloat16OptimWrapper(torch.optim.SGD(
        ...     model.parameters(), lr=0.1))
        >>> with wrapper.optim_context(model):
        ...     model(torch.zeros(1, 4)).dtype
        torch.bfloat16
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast on the device that holds the model."""
        first = next(model.parameters(), None)
        device = 'cpu' if first is None else first.device
        with super().optim_context(model), autocast('bfloat16', device):
            yield
