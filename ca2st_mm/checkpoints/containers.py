# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The state dict inside what a checkpoint file holds."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

# Official code and DeepSpeed, DeepSpeed, MMEngine and Lightning.
WRAPPERS = ('model', 'module', 'state_dict')
PARALLEL = 'module.'


class Unwrapped(NamedTuple):
    """A state dict and where in the container it was, in words."""

    state_dict: dict[str, Tensor]
    how: str


def unwrap(container: Mapping[str, Any]) -> Unwrapped:
    """Find the state dict in a container.

    Takes what stands under 'model', 'module' or 'state_dict' (the first that
    is there), or the container itself, and strips a ``module.`` that opens
    every name, as data-parallel training leaves it.

    Args:
        container: What a checkpoint file holds.

    Returns:
        Parameters by name, and the path to them.

    Raises:
        ValueError: If no state dict is found, or one holds something else
            than tensors.
    """
    path: list[str] = []
    found: Any = container
    while not _has_tensors(found):
        wrapper = next((w for w in WRAPPERS if _holds(found, w)), None)
        if wrapper is None:
            where = f' under {".".join(path)!r}' if path else ''
            raise ValueError(
                f'the file holds no state dict{where}: none of '
                f'{", ".join(WRAPPERS)} is there, and the entries are '
                f'{_first_keys(found)}'
            )
        path.append(wrapper)
        found = found[wrapper]
    for key, value in found.items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f'the state dict holds {key!r} of type '
                f'{type(value).__name__} among its tensors; take it out'
            )
    how = '.'.join(path) or 'the file itself'
    if all(key.startswith(PARALLEL) for key in found):
        found = {k.removeprefix(PARALLEL): v for k, v in found.items()}
        how += f", without the front '{PARALLEL}'"
    return Unwrapped(dict(found), how)


def _has_tensors(found: Any) -> bool:
    return isinstance(found, Mapping) and any(
        isinstance(value, Tensor) for value in found.values()
    )


def _holds(found: Any, wrapper: str) -> bool:
    return isinstance(found, Mapping) and isinstance(
        found.get(wrapper), Mapping
    )


def _first_keys(found: Any) -> str:
    if not isinstance(found, Mapping):
        return f'of a {type(found).__name__}'
    return ', '.join(repr(key) for key in list(found)[:5]) or 'none'
