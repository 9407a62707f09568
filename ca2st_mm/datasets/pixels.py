# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Decoded frames to upright RGB pixels, within a limit of memory."""

import gc
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from mmengine.logging import print_log

from .faults import RefusedError

# All frames of one ``read``; larger ones are made smaller. 43 frames of
# 1920 x 1080 fit.
MAX_BYTES = 256 << 20

# Bytes of decoded frames that only the garbage collector frees.
_garbage = 0


def stack_frames(
    frames: Iterable[tuple[int, av.VideoFrame]],
    count: int,
    ratio: Fraction | None,
) -> np.ndarray:
    """Frames as players show them, in one array.

    Frames that would take more than ``MAX_BYTES`` are made smaller.

    Args:
        frames: Decoded frames, at least one, with their places.
        count: How many there are.
        ratio: Width of a pixel by its height; None for square ones.

    Returns:
        RGB uint8, (count, height, width, 3).
    """
    stacked = None
    for place, frame in frames:
        if stacked is None:
            width, height = shown_size(frame, ratio)
            scale = np.sqrt(MAX_BYTES / (3 * count * width * height))
            if scale < 1:
                size = f'{width} x {height}'
                width = max(int(width * scale), 1)
                height = max(int(height * scale), 1)
                print_log(
                    f'{count} frames of {size} pixels are reduced to {width} '
                    f'x {height} to fit {MAX_BYTES >> 20} MiB.',
                    logger='current',
                )
            stacked = np.empty((count, height, width, 3), np.uint8)
        # The size may change inside the file: the first one counts.
        stacked[place] = to_rgb(frame, width, height)
    return stacked


def shown_size(
    frame: av.VideoFrame, ratio: Fraction | None
) -> tuple[int, int]:
    """Width and height at which a decoded frame is shown, upright.

    ``ratio`` is the width of a pixel by its height; None for square ones.
    """
    # Beyond these limits the header is damaged.
    if not ratio or not 0.1 < ratio < 10:
        ratio = 1
    size = max(round(frame.width * ratio), 1), frame.height
    return size[::-1] if _is_transposed(display_matrix(frame)) else size


def to_rgb(
    frame: av.VideoFrame,
    width: int,
    height: int,
    interpolation: str = 'BILINEAR',
) -> np.ndarray:
    """Pixels as a player shows them: the display matrix applied.

    Args:
        frame: A decoded frame.
        width: Of the result.
        height: Of the result.
        interpolation: FFmpeg's name of the rule for another size.

    Returns:
        RGB uint8, (height, width, 3), upright.

    Raises:
        RefusedError: If it is turned by an angle other than a right one.
    """
    matrix = display_matrix(frame)
    if _is_transposed(matrix):
        width, height = height, width
    # One thread: by default every frame starts and keeps as many threads as
    # there are cores.
    pixels = frame.to_ndarray(
        format='rgb24',
        width=width,
        height=height,
        interpolation=interpolation,
        threads=1,
    )
    if matrix is None:
        return pixels
    # Row vectors: x' = a x + c y, y' = b x + d y.
    (a, b), (c, d) = matrix
    if _is_transposed(matrix):
        pixels, (a, d) = pixels.swapaxes(0, 1), (c, b)
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """How x and y of a decoded frame are mapped, (2, 2); None if they stay.

    Raises:
        RefusedError: If it turns the frame by an angle that is not right.
    """
    # PyAV ties a frame to its side data in a circle.
    global _garbage
    _garbage += 3 * frame.width * frame.height
    if _garbage > MAX_BYTES:
        gc.collect()
        _garbage = 0
    side_data = frame.side_data.get(SideData.DISPLAYMATRIX)
    if side_data is None or len(bytes(side_data)) != 36:
        return None
    matrix = np.frombuffer(bytes(side_data), np.int32).reshape(3, 3)[:2, :2]
    if not matrix.any():
        return None
    sizes = np.sort(np.abs(matrix.astype(float)), axis=1)
    if (sizes[:, 0] > 0.05 * sizes[:, 1]).any():  # 3 degrees
        degrees = np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0]))
        raise RefusedError(
            f'it is to be shown turned by {degrees:.0f} degrees, and only '
            'right angles are applied',
            "Turn its frames with FFmpeg ('ffmpeg -i FILE NEW.mp4').",
        )
    if not _is_transposed(matrix) and (np.diag(matrix) > 0).all():
        return None
    return matrix


def _is_transposed(matrix: np.ndarray | None) -> bool:
    """Whether columns become rows."""
    return matrix is not None and abs(matrix[0, 1]) > abs(matrix[0, 0])
