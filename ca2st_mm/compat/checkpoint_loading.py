# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Reading checkpoints: MMEngine's in safe mode, and only so."""

import functools
import inspect
import pickle
from typing import Any


def history_buffer_getattr(owner: Any, name: str) -> Any:
    """A ``getattr`` for unpickling that reaches HistoryBuffer's methods only.

    Args:
        owner: The object named in the pickle.
        name: The attribute asked for.

    Raises:
        pickle.UnpicklingError: If anything else is asked for.
    """
    from mmengine.logging import HistoryBuffer

    public = isinstance(name, str) and not name.startswith('_')
    if owner is HistoryBuffer and public:
        method = vars(HistoryBuffer).get(name)
        if inspect.isfunction(method):
            return method
    raise pickle.UnpicklingError(
        f'The checkpoint asks for attribute {name!r} of {owner!r}, which no '
        'MMEngine checkpoint needs; it was not loaded.'
    )


def _checkpoint_globals() -> list[tuple[Any, str]]:
    """Pairs of (object, name in the pickle) that MMEngine checkpoints use."""
    import numpy
    from mmengine.logging import HistoryBuffer

    core = getattr(numpy, '_core', None) or numpy.core
    pairs: list[tuple[Any, str]] = [
        (HistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (history_buffer_getattr, 'builtins.getattr'),
        # A pickle of protocol 2 uses the Python 2 name of the module.
        (history_buffer_getattr, '__builtin__.getattr'),
        (numpy.ndarray, 'numpy.ndarray'),
        (numpy.dtype, 'numpy.dtype'),
    ]
    for package in ('numpy._core', 'numpy.core'):
        for name in ('_reconstruct', 'scalar'):
            found = getattr(core.multiarray, name)
            pairs.append((found, f'{package}.multiarray.{name}'))
    # The loader also checks the class of each dtype that it rebuilds.
    for code in '?bhilqBHILQefd':
        dtype_class = type(numpy.dtype(code))
        name = f'{dtype_class.__module__}.{dtype_class.__qualname__}'
        pairs.append((dtype_class, name))
    return pairs


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load`` read MMEngine's checkpoints in its safe mode.

    Fault: torch >= 2.6 loads with ``weights_only=True`` by default, and
    MMEngine 0.10.7 stores ``HistoryBuffer`` objects and numpy scalars in its
    checkpoints, so that resuming fails with ``Unsupported global``.  The
    safe mode stays on: only the classes named here are added to it.
    """
    import torch
    from mmengine.utils import digit_version

    if digit_version(torch.__version__) < digit_version('2.6.0'):
        return
    torch.serialization.add_safe_globals(_checkpoint_globals())


def load_urls_safely() -> None:
    """Let MMEngine read what it downloads in torch's safe mode.

    Fault: MMEngine 0.10.7 downloads with ``torch.hub``'s helper, whose
    default is ``weights_only=False``: code in the file would run.
    """
    from mmengine.runner import checkpoint

    if not isinstance(checkpoint.load_url, functools.partial):
        checkpoint.load_url = functools.partial(
            checkpoint.load_url, weights_only=True
        )
