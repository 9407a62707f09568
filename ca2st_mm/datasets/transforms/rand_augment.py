# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""RandAugment as timm has it, with one draw for all frames, on OpenCV.

Frames are RGB uint8 (height, width, 3).  The values are those that timm gives
for PIL images, but for a difference of 1 in at most a pixel of a thousand.

Source: Cubuk et al., RandAugment, CVPR Workshops 2020.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torch.nn import functional as F

from ca2st_mm.registry import TRANSFORMS

from .base import Transform

Frames = list[np.ndarray]
Operation = Callable[[Frames, float], Frames]

_RAMP = np.arange(256)
# Pixels of all frames, and of the result, that are rotated at a time.
_MOST, _BLOCK = 2**24, 2**16
_FILL = 128  # where nothing is known
# PIL cuts off what follows the point, OpenCV rounds.  The rest keeps whole
# numbers whole where float32 is a little below them.
_CUT = -0.5 + 1e-4
# ITU-R BT.601, as PIL rounds it; sums are exact in float32.
_GREY = np.array([[19595, 38470, 7471]], np.float32) / 65536
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def _each(change: Callable[[np.ndarray, float], np.ndarray]) -> Operation:
    """An operation that treats each frame by itself."""
    return lambda frames, level: [change(f, level) for f in frames]


def _by_value(table: Callable[[float], np.ndarray]) -> Operation:
    """An operation that looks at single values: one table for all frames."""

    def apply(frames: Frames, level: float) -> Frames:
        values = table(level).astype(np.uint8)
        return [cv2.LUT(frame, values) for frame in frames]

    return apply


def _by_pil(change: Callable[[Image.Image], Image.Image]) -> Operation:
    """An operation of PIL, which OpenCV lacks."""
    return _each(lambda frame, _: np.array(change(Image.fromarray(frame))))


def _factor(level: float) -> float:
    """Share of the frame in a blend, from 0.1 to 1.9."""
    return max(0.1, 1 + level / 10 * 0.9)


def _scaled(values: np.ndarray, zero: int, level: float) -> np.ndarray:
    """Values at a distance from ``zero`` that is ``_factor`` times theirs."""
    distance = (values - zero).astype(np.float32)
    return np.clip(zero + np.float32(_factor(level)) * distance, 0, 255)


def _blend(frame: np.ndarray, other: np.ndarray, level: float) -> np.ndarray:
    factor = _factor(level)
    return cv2.addWeighted(frame, factor, other, 1 - factor, _CUT)


def _color(frame: np.ndarray, level: float) -> np.ndarray:
    grey = cv2.cvtColor(cv2.transform(frame, _GREY), cv2.COLOR_GRAY2RGB)
    return _blend(frame, grey, level)


def _contrast(frame: np.ndarray, level: float) -> np.ndarray:
    mean = int(cv2.mean(cv2.transform(frame, _GREY))[0] + 0.5)
    return cv2.LUT(frame, _scaled(_RAMP, mean, level).astype(np.uint8))


def _sharpness(frame: np.ndarray, level: float) -> np.ndarray:
    smooth = frame.copy()  # of the border, too
    smooth[1:-1, 1:-1] = cv2.filter2D(frame, -1, _SMOOTH)[1:-1, 1:-1]
    return _blend(frame, smooth, level)


def _cubic(fraction: float | np.ndarray) -> np.ndarray:
    """PIL's cubic weights of the four neighbours, (..., 4)."""
    d = np.float32(fraction)
    return np.stack(
        [
            d * (d * (2 - d) - 1),
            1 + d * d * (d - 2),
            d * (1 + d * (1 - d)),
            d * d * (d - 1),
        ],
        axis=-1,
    )


def _shift_rows(frames: Frames, shifts: np.ndarray) -> Frames:
    """Move rows to the left by a number of pixels, one for each or for all."""
    count, (height, width) = len(frames), frames[0].shape[:2]
    rows = np.empty((height, count, width + 1, 3), np.uint8)
    np.stack(frames, axis=1, out=rows[:, :, 1:])
    rows[:, :, 0] = rows[:, :, 1]
    parts = rows.reshape(len(shifts), -1, width + 1, 3)
    moved = np.full((count, height, width, 3), _FILL, np.uint8)
    whole = np.floor(shifts)
    kernels = _cubic(shifts - whole)[:, None]
    for number, shift in enumerate(shifts):
        # Pixels of the result whose source is a point of the frame.
        start = max(math.ceil(-shift - 0.5), 0)
        stop = min(math.ceil(width - shift - 0.5), width)
        if start < stop:
            part = cv2.filter2D(
                parts[number],
                -1,
                kernels[number],
                anchor=(1, 0),
                delta=_CUT,
                borderType=cv2.BORDER_REPLICATE,
            )
            first = start + int(whole[number]) + 1
            part = part.reshape(-1, count, width + 1, 3).swapaxes(0, 1)
            which = slice(number, number + len(part[0]))
            moved[:, which, start:stop] = part[
                :, :, first : first + stop - start
            ]
    return list(moved)


def _shear_x(frames: Frames, level: float) -> Frames:
    centres = np.arange(len(frames[0])) + 0.5
    return _shift_rows(frames, level / 10 * 0.3 * centres)


def _translate_x(frames: Frames, level: float) -> Frames:
    width = frames[0].shape[1]
    return _shift_rows(frames, np.array([level / 10 * 0.45 * width]))


def _along_y(operation: Operation) -> Operation:
    """An operation on columns, by one on rows."""

    def apply(frames: Frames, level: float) -> Frames:
        frames = operation([cv2.transpose(f) for f in frames], level)
        return [cv2.transpose(frame) for frame in frames]

    return apply


def _rotate(frames: Frames, level: float) -> Frames:
    """By up to 30 degrees, counterclockwise where ``level`` is positive.

    A pixel is a weighted sum of 16, and these are the same in all frames:
    rows of a table of (pixels, frames * 3).
    """
    height, width = frames[0].shape[:2]
    half = len(frames) // 2
    if half and (half > 16 or len(frames) * height * width > _MOST):
        return _rotate(frames[:half], level) + _rotate(frames[half:], level)
    angle = math.radians(level / 10 * 30)
    x, y = np.meshgrid(
        np.arange(width) + 0.5 - width / 2,
        np.arange(height) + 0.5 - height / 2,
    )
    x, y = (
        x * math.cos(angle) - y * math.sin(angle) + width / 2,
        x * math.sin(angle) + y * math.cos(angle) + height / 2,
    )
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    [known] = np.nonzero(inside.ravel())
    x, y = x.ravel()[known] - 0.5, y.ravel()[known] - 0.5
    # Beyond the border neighbours are those of the border.
    wide = [
        cv2.copyMakeBorder(f, 2, 2, 2, 2, cv2.BORDER_REPLICATE) for f in frames
    ]
    channels = 3 * len(frames)
    table = torch.from_numpy(cv2.merge(wide)).view(-1, channels).float()
    rotated = np.full((height * width, channels), _FILL, np.uint8)
    row, steps = width + 4, np.arange(4, dtype=np.int32)
    neighbours = (row * steps[:, None] + steps).ravel()
    for start in range(0, len(known), _BLOCK):
        block = slice(start, start + _BLOCK)
        left, top = np.floor(x[block]), np.floor(y[block])
        first = ((top + 1) * row + left + 1).astype(np.int32)
        weights = np.einsum(
            'ni,nj->nij', _cubic(y[block] - top), _cubic(x[block] - left)
        )
        sums = F.embedding_bag(
            torch.from_numpy(first[:, None] + neighbours),
            table,
            per_sample_weights=torch.from_numpy(weights).flatten(1),
            mode='sum',
        )
        sums = cv2.add(sums.numpy(), _CUT, dtype=cv2.CV_8U)
        rotated[known[block]] = sums
    apart = [np.empty_like(frame) for frame in frames]
    pairs = np.arange(channels).repeat(2).tolist()
    cv2.mixChannels([rotated.reshape(height, width, -1)], apart, pairs)
    return apart


# By the name that timm has for them in its set of increasing strengths.  The
# level is from 0 to 10; from -10 in those that have a sign.
OPERATIONS: dict[str, Operation] = dict(
    AutoContrast=_by_pil(ImageOps.autocontrast),
    Equalize=_by_pil(ImageOps.equalize),
    Invert=_each(lambda frame, _: cv2.bitwise_not(frame)),
    Rotate=_rotate,
    PosterizeIncreasing=_by_value(
        lambda level: _RAMP & -(2 ** (4 + int(level / 10 * 4)))
    ),
    SolarizeIncreasing=_by_value(
        lambda level: np.where(
            _RAMP < 256 - int(level / 10 * 256), _RAMP, 255 - _RAMP
        )
    ),
    SolarizeAdd=_by_value(
        lambda level: np.where(
            _RAMP < 128, np.minimum(_RAMP + int(level / 10 * 110), 255), _RAMP
        )
    ),
    ColorIncreasing=_each(_color),
    ContrastIncreasing=_each(_contrast),
    BrightnessIncreasing=_by_value(lambda level: _scaled(_RAMP, 0, level)),
    SharpnessIncreasing=_each(_sharpness),
    ShearX=_shear_x,
    ShearY=_along_y(_shear_x),
    TranslateXRel=_translate_x,
    TranslateYRel=_along_y(_translate_x),
)
SIGNED = (
    'Rotate',
    'ColorIncreasing',
    'ContrastIncreasing',
    'BrightnessIncreasing',
    'SharpnessIncreasing',
    'ShearX',
    'ShearY',
    'TranslateXRel',
    'TranslateYRel',
)


@TRANSFORMS.register_module()
class RandAugmentFrames(Transform):
    """timm's ``rand-m7-n4-mstd0.5-inc1`` on the frames of a clip, faster.

    Each of ``num_ops`` operations is drawn with the same chance and applied
    with ``prob``, at a level that is normal around ``magnitude``.  All
    frames get the same ones.

    >>> RandAugmentFrames(magnitude=9)
    RandAugmentFrames(num_ops=4, magnitude=9, magnitude_std=0.5, prob=0.5)

    Required and changed key: ``imgs``, a list of RGB uint8
    (height, width, 3); the arrays handed in are left alone.

    Args:
        num_ops: Operations, one after the other.
        magnitude: Mean of the level, from 0 to 10.
        magnitude_std: Its standard deviation.
        prob: Probability of each operation.

    Raises:
        ValueError: If there is no such magnitude.
    """

    def __init__(
        self,
        num_ops: int = 4,
        magnitude: float = 7,
        magnitude_std: float = 0.5,
        prob: float = 0.5,
    ) -> None:
        if not 0 <= magnitude <= 10:
            raise ValueError(
                f'magnitude is a number from 0 to 10, not {magnitude}.'
            )
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.magnitude_std = magnitude_std
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Change ``results['imgs']``."""
        frames = [np.ascontiguousarray(frame) for frame in results['imgs']]
        for name in np.random.choice(list(OPERATIONS), self.num_ops):
            if np.random.uniform() >= self.prob:
                continue
            level = np.random.normal(self.magnitude, self.magnitude_std)
            level = min(max(level, 0.0), 10.0)
            if name in SIGNED and np.random.uniform() < 0.5:
                level = -level
            frames = OPERATIONS[name](frames, level)
        results['imgs'] = frames
        return results
