# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""One token shape for every expert, and the two functions that reshape it.

``tokens: (B, T, P + N, C)``: batch, time steps, extra tokens and positions of
one step, channels.  Every reshape of the library goes through :func:`fold` and
:func:`unfold`.
"""

from typing import NamedTuple

from torch import Tensor

AXES = ('time', 'space', 'all')


class TokenSpec(NamedTuple):
    """Shape of an expert's tokens.

    The tokens are ``(B, num_steps, num_extra_tokens + num_positions,
    embed_dims)``; the extra tokens (class, distillation) come first.
    """

    embed_dims: int
    num_steps: int
    num_positions: int
    num_extra_tokens: int = 0


class TokenGrid(NamedTuple):
    """Where the positions of one step lie in the input; for pictures only.

    Position ``row * columns + column`` is a square of ``patch`` units that
    starts ``row * stride`` and ``column * stride`` after the first.  Units
    are pixels, or mel bands (rows, from the lowest) and frames (columns) of a
    spectrogram.

    An expert that has this as ``token_grid`` can be shown over its input.
    """

    rows: int
    columns: int
    patch: int
    stride: int
    kind: str = 'picture'  # or 'spectrogram'


def check_axis(axis: str) -> None:
    """Raise ``ValueError`` unless ``axis`` is time, space or all."""
    if axis not in AXES:
        raise ValueError(f'axis must be one of {AXES}, got {axis!r}')


def fold(tokens: Tensor, axis: str) -> Tensor:
    """Lay tokens out as sequences that run along one axis.

    Args:
        tokens: (B, T, N, C).
        axis: 'time' gives (B * N, T, C), 'space' (B * T, N, C) and 'all'
            (B, T * N, C).

    Raises:
        ValueError: If ``axis`` is unknown.
    """
    check_axis(axis)
    batch, steps, positions, dims = tokens.shape
    if axis == 'time':
        return tokens.transpose(1, 2).reshape(-1, steps, dims)
    if axis == 'space':
        return tokens.reshape(batch * steps, positions, dims)
    return tokens.reshape(batch, steps * positions, dims)


def unfold(
    sequences: Tensor, axis: str, num_steps: int, num_positions: int
) -> Tensor:
    """Undo :func:`fold`: sequences along ``axis`` to (B, T, N, C)."""
    check_axis(axis)
    dims = sequences.shape[-1]
    if axis == 'time':
        grid = sequences.reshape(-1, num_positions, num_steps, dims)
        return grid.transpose(1, 2)
    return sequences.reshape(-1, num_steps, num_positions, dims)
