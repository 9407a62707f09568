# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Decoded frames to upright RGB pixels, within a limit of memory."""

import gc
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


class FrameBatch:
    """The frames of one ``read``, reduced while they are decoded.

    Args:
        count: How many there will be.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._scale = 1.0
        self.frames: np.ndarray | None = None

    def put(
        self, place: int, frame: av.VideoFrame, size: tuple[int, int]
    ) -> None:
        """Convert a frame.

        Args:
            place: Where it belongs.
            frame: As decoded.
            size: Width and height at which it is shown.
        """
        if self.frames is None:
            total = 3 * self._count * size[0] * size[1]
            self._scale = min(np.sqrt(MAX_BYTES / total), 1.0)
        width, height = (max(int(s * self._scale), 1) for s in size)
        if self.frames is not None:
            # The size may change inside the file: the first one counts.
            height, width = self.frames.shape[1:3]
            if is_transposed(display_matrix(frame)):
                height, width = width, height
        elif self._scale < 1:
            print_log(
                f'{self._count} frames of {size[0]} x {size[1]} pixels are '
                f'reduced to {width} x {height} to fit {MAX_BYTES >> 20} MiB.',
                logger='current',
            )
        pixels = to_rgb(frame, width, height)
        if self.frames is None:
            shape = (self._count, *pixels.shape)
            self.frames = np.empty(shape, np.uint8)
        self.frames[place] = pixels


def shown_size(
    frame: av.VideoFrame, ratio: Fraction | None
) -> tuple[int, int]:
    """Width and height at which a frame is shown, before it is turned.

    Args:
        frame: As decoded.
        ratio: Width of a pixel by its height; None for square ones.
    """
    # Beyond these limits the header is damaged.
    if not ratio or not 0.1 < ratio < 10:
        ratio = 1
    return max(round(frame.width * ratio), 1), frame.height


def to_rgb(
    frame: av.VideoFrame,
    width: int | None = None,
    height: int | None = None,
    interpolation: str = 'BILINEAR',
) -> np.ndarray:
    """Pixels as a player shows them: the display matrix applied.

    Args:
        frame: A decoded frame.
        width: Pixels of the stored frame; None keeps them.
        height: The same.
        interpolation: FFmpeg's name of the rule for another size.

    Returns:
        RGB uint8, (height, width, 3), upright.

    Raises:
        RefusedError: If it is turned by an angle other than a right one.
    """
    # One thread: by default every frame starts and keeps as many threads as
    # there are cores.
    pixels = frame.to_ndarray(
        format='rgb24',
        width=width,
        height=height,
        interpolation=interpolation,
        threads=1,
    )
    matrix = display_matrix(frame)
    if matrix is None:
        return pixels
    # Row vectors: x' = a x + c y, y' = b x + d y.
    (a, b), (c, d) = matrix
    if is_transposed(matrix):
        pixels, (a, d) = pixels.swapaxes(0, 1), (c, b)
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """How x and y are mapped, (2, 2); None if they stay.

    Args:
        frame: A decoded frame.

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
    if not is_transposed(matrix) and (np.diag(matrix) > 0).all():
        return None
    return matrix


def is_transposed(matrix: np.ndarray | None) -> bool:
    """Whether columns become rows.

    Args:
        matrix: As :func:`display_matrix` gives it.
    """
    return matrix is not None and abs(matrix[0, 1]) > abs(matrix[0, 0])
