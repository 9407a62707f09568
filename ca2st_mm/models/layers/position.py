# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Position tables of the experts: sinusoids and resizing of learned grids."""

from math import isqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def sinusoid_table(num_positions: int, embed_dims: int) -> Tensor:
    """The fixed table of VideoMAE, (num_positions, embed_dims), float32.

    Channel j of position p has the angle p / 10000 ** (2 * (j // 2) / C),
    sine in even and cosine in odd channels.  Computed in float64 and rounded
    once, as the checkpoints were trained.
    """
    position = np.arange(num_positions, dtype=np.float64)[:, None]
    channel = np.arange(embed_dims)[None]
    angle = position / np.power(10000.0, 2 * (channel // 2) / embed_dims)
    table = np.where(channel % 2 == 0, np.sin(angle), np.cos(angle))
    return torch.from_numpy(table).float()


def resize_grid(
    table: Tensor, new: tuple[int, int], old: tuple[int, int], mode: str
) -> Tensor:
    """Resize a learned position table to another grid.

    Args:
        table: Row-major table, (old[0] * old[1], C).
        new: Rows and columns wanted.
        old: Rows and columns of the table.
        mode: 'bilinear' or 'bicubic', corners not aligned.

    Returns:
        (new[0] * new[1], C); the table itself when nothing changes.

    Raises:
        ValueError: If the table does not have old[0] * old[1] rows.
    """
    if table.shape[0] != old[0] * old[1]:
        raise ValueError(
            f'a position table of {table.shape[0]} rows is not a grid of '
            f'{old[0]} x {old[1]}'
        )
    if tuple(new) == tuple(old):
        return table
    grid = table.float().T.reshape(1, -1, *old)
    grid = F.interpolate(grid, size=new, mode=mode, align_corners=False)
    return grid.flatten(2)[0].T.to(table.dtype)


def resize_square_positions(
    table: Tensor, new: tuple[int, int], num_prefix_tokens: int, mode: str
) -> Tensor:
    """Resize the square grid of a position table of images.

    Args:
        table: (1, num_prefix_tokens + side * side, C).
        new: Rows and columns wanted.
        num_prefix_tokens: Rows before the grid.
        mode: 'bilinear' or 'bicubic', corners not aligned.

    Returns:
        (1, num_prefix_tokens + new[0] * new[1], C).

    Raises:
        ValueError: If the grid of the table is not square.
    """
    prefix, grid = table[:, :num_prefix_tokens], table[0, num_prefix_tokens:]
    side = isqrt(len(grid))
    return torch.cat(
        (prefix, resize_grid(grid, new, (side, side), mode)[None]), dim=1
    )
