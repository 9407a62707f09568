# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""RandAugment for clips: one draw for all frames, on OpenCV.

Frames are RGB uint8 (height, width, 3).  Values equal those that torchvision
gives for tensors: bit for bit, but for shear and rotation, whose bilinear
weights OpenCV rounds otherwise (with OpenCV 5.0 by one step in less than 5 %
of the values; 4.x is not measured).  What depends on one value alone goes
through a table of 256 entries, made by torchvision's own operation.

Source: Cubuk et al., RandAugment, CVPR Workshops 2020.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torchvision.transforms import RandAugment, functional

from ca2st_mm.registry import TRANSFORMS

from .base import Transform

Frames = list[np.ndarray]
Operation = Callable[[Frames, float], Frames]

_RAMP = torch.arange(256, dtype=torch.uint8)
# A frame of three channels that holds every value once.
_EVERY_VALUE = _RAMP.expand(3, 1, 256)
_BLUR = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def _each(change: Callable[[np.ndarray, float], np.ndarray]) -> Operation:
    """An operation that treats each frame by itself."""
    return lambda frames, magnitude: [change(f, magnitude) for f in frames]


def _by_value(change: Callable[[torch.Tensor, float], torch.Tensor]):
    """An operation that looks at single values: one table for all frames."""

    def apply(frames: Frames, magnitude: float) -> Frames:
        table = change(_EVERY_VALUE, magnitude)[0, 0].numpy()
        return [cv2.LUT(frame, table) for frame in frames]

    return apply


def _shear_x(frame: np.ndarray, slope: float) -> np.ndarray:
    return _warp(frame, [[1, slope, slope / 2], [0, 1, 0]])


def _shear_y(frame: np.ndarray, slope: float) -> np.ndarray:
    return _warp(frame, [[1, 0, 0], [slope, 1, slope / 2]])


def _rotate(frame: np.ndarray, degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    y, x = (np.array(frame.shape[:2]) - 1) / 2
    return _warp(
        frame,
        [
            [cos, -sin, x - cos * x + sin * y],
            [sin, cos, y - sin * x - cos * y],
        ],
    )


def _warp(frame: np.ndarray, source: list[list[float]]) -> np.ndarray:
    """Pixel (x, y) of the result is read at ``source @ (x, y, 1)``."""
    height, width = frame.shape[:2]
    return cv2.warpAffine(
        frame,
        np.array(source, np.float64),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )


def _translate_x(frame: np.ndarray, pixels: float) -> np.ndarray:
    moved, shift = np.zeros_like(frame), int(pixels)
    width = frame.shape[1]
    moved[:, max(shift, 0) : width + min(shift, 0)] = frame[
        :, max(-shift, 0) : width - max(shift, 0)
    ]
    return moved


def _translate_y(frame: np.ndarray, pixels: float) -> np.ndarray:
    return _translate_x(frame.swapaxes(0, 1), pixels).swapaxes(0, 1)


def _contrast(frame: np.ndarray, change: float) -> np.ndarray:
    # torch adds up in an order of its own, and the last bit shows.
    mean = torch.from_numpy(_grey(frame)).float().mean()
    mixed = (1 + change) * _RAMP - change * mean
    return cv2.LUT(frame, mixed.clamp(0, 255).to(torch.uint8).numpy())


def _colour(frame: np.ndarray, change: float) -> np.ndarray:
    return _blend(frame, _grey(frame)[..., None], 1 + change)


def _sharpness(frame: np.ndarray, change: float) -> np.ndarray:
    if min(frame.shape[:2]) <= 2:  # all border
        return frame
    blurred = frame.copy()
    blurred[1:-1, 1:-1] = cv2.filter2D(frame, -1, _BLUR)[1:-1, 1:-1]
    return _blend(frame, blurred, 1 + change)


def _auto_contrast(frames: Frames, _: float) -> Frames:
    limits = np.array(
        [
            [np.flatnonzero(counts)[[0, -1]] for counts in _histograms(frame)]
            for frame in frames
        ]
    )
    low, high = torch.from_numpy(limits).split(1, dim=-1)
    # Frames that hold every value between the limits: (frames, 3, 1, 256).
    ramps = _RAMP.clamp(low, high)[:, :, None].to(torch.uint8)
    tables = functional.autocontrast(ramps)[:, :, 0].numpy()
    return [_by_channel(*pair) for pair in zip(frames, tables, strict=True)]


def _equalize(frame: np.ndarray, _: float) -> np.ndarray:
    return _by_channel(frame, [_flat(c) for c in _histograms(frame)])


def _flat(counts: np.ndarray) -> np.ndarray:
    """The table that makes a histogram flat."""
    step = (counts.sum() - counts[counts > 0][-1]) // 255
    if not step:
        return _RAMP.numpy()
    below = np.cumsum(counts) - counts
    return np.minimum((below + step // 2) // step, 255).astype(np.uint8)


def _histograms(frame: np.ndarray) -> list[np.ndarray]:
    """How often each value occurs, by channel, int64 (256,)."""
    return [
        cv2.calcHist([frame], [channel], None, [256], [0, 256])
        .ravel()
        .astype(np.int64)
        for channel in range(3)
    ]


def _by_channel(frame: np.ndarray, tables: Sequence[np.ndarray]) -> np.ndarray:
    return cv2.LUT(frame, np.stack(tables, axis=-1)[None])


def _grey(frame: np.ndarray) -> np.ndarray:
    """Brightness by ITU-R BT.601, cut to whole numbers, (height, width)."""
    red, green, blue = cv2.split(frame)
    grey = red * np.float32(0.2989)
    grey += green * np.float32(0.587)
    grey += blue * np.float32(0.114)
    return grey.astype(np.uint8)


def _blend(one: np.ndarray, other: np.ndarray, ratio: float) -> np.ndarray:
    """``ratio`` of one and the rest of the other, cut to whole numbers."""
    mixed = one * np.float32(ratio)
    mixed += other * np.float32(1.0 - ratio)
    return np.clip(mixed, 0, 255, out=mixed).astype(np.uint8)


OPERATIONS: dict[str, Operation] = dict(
    Identity=lambda frames, _: frames,
    ShearX=_each(_shear_x),
    ShearY=_each(_shear_y),
    TranslateX=_each(_translate_x),
    TranslateY=_each(_translate_y),
    Rotate=_each(_rotate),
    Brightness=_by_value(
        lambda values, change: functional.adjust_brightness(values, 1 + change)
    ),
    Color=_each(_colour),
    Contrast=_each(_contrast),
    Sharpness=_each(_sharpness),
    Posterize=_by_value(
        lambda values, bits: functional.posterize(values, int(bits))
    ),
    Solarize=_by_value(functional.solarize),
    AutoContrast=_auto_contrast,
    Equalize=_each(_equalize),
)


@TRANSFORMS.register_module()
class RandAugmentFrames(Transform):
    """torchvision's RandAugment on the frames of a clip, faster.

    The same seed of torch gives the operations and signs that
    ``TorchVisionWrapper(op='RandAugment')`` draws, with bilinear
    interpolation and black where nothing is known; the top of this
    file says how near the values are, ``docs/benchmarks.md`` what it gains.

    >>> RandAugmentFrames(magnitude=7)
    RandAugmentFrames(num_ops=2, magnitude=7, num_magnitude_bins=31)

    Required and changed key: ``imgs``, a list of RGB uint8
    (height, width, 3); the arrays handed in are left alone.

    Args:
        num_ops: Operations, one after the other.
        magnitude: Strength of each, from 0 to ``num_magnitude_bins - 1``.
        num_magnitude_bins: Number of strengths.

    Raises:
        ValueError: If there is no such magnitude.
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
    ) -> None:
        if not 0 <= magnitude < num_magnitude_bins:
            raise ValueError(
                f'magnitude is a number from 0 to {num_magnitude_bins - 1}, '
                f'not {magnitude}.'
            )
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.num_magnitude_bins = num_magnitude_bins
        self._original = RandAugment(num_ops, magnitude, num_magnitude_bins)

    def transform(self, results: dict) -> dict:
        """Change ``results['imgs']``."""
        frames = [np.ascontiguousarray(frame) for frame in results['imgs']]
        # torchvision's own table: its float32 steps show in the last bit.
        space = self._original._augmentation_space(
            self.num_magnitude_bins, frames[0].shape[:2]
        )
        for _ in range(self.num_ops):
            name = list(space)[torch.randint(len(space), (1,)).item()]
            strengths, signed = space[name]
            strength = strengths.expand(self.num_magnitude_bins)[
                self.magnitude
            ].item()
            if signed and torch.randint(2, (1,)).item():
                strength = -strength
            frames = OPERATIONS[name](frames, strength)
        results['imgs'] = frames
        return results
