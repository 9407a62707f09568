# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""RandAugment for clips: one draw for all frames."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torchvision.transforms import RandAugment

from ca2st_mm.registry import TRANSFORMS

from .picture_ops import OPERATIONS


@TRANSFORMS.register_module()
class RandAugmentFrames(BaseTransform):
    """torchvision's RandAugment on the frames of a clip, faster.

    The same seed of torch gives the operations and signs that
    ``TorchVisionWrapper(op='RandAugment')`` draws, with bilinear
    interpolation and black where nothing is known; how near the values are
    stands in ``picture_ops``, what it gains in ``docs/benchmarks.md``.

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

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(num_ops={self.num_ops}, '
            f'magnitude={self.magnitude}, '
            f'num_magnitude_bins={self.num_magnitude_bins})'
        )
