# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""torchvision's operations on clips, one frame at a time."""

from typing import Dict

import numpy as np
import torch
from mmaction.datasets.transforms import TorchVisionWrapper

from ca2st_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class TorchVisionFrames(TorchVisionWrapper):
    """MMAction2's ``TorchVisionWrapper``, frame by frame.

    Every frame sees the same random choices and gets the values that
    ``TorchVisionWrapper`` gives it, provided that the operation treats
    each frame by itself (RandAugment and ColorJitter do).  Temporaries are
    those of one frame instead of the clip; what that gains is in
    ``docs/benchmarks.md``.

    Required and changed key: ``imgs``, a list of RGB uint8
    (height, width, 3).

    Args:
        op: Name of a class in ``torchvision.transforms``.
        **kwargs: Its arguments.
    """

    def transform(self, results: Dict) -> Dict:
        """Change ``results['imgs']``."""
        state = torch.get_rng_state()
        frames = []
        for frame in results['imgs']:
            # The same state gives each frame the same draws.
            torch.set_rng_state(state)
            planes = np.ascontiguousarray(frame.transpose(2, 0, 1))
            changed = self.trans(torch.from_numpy(planes)).numpy()
            frames.append(changed.transpose(1, 2, 0))
        results['imgs'] = frames
        return results
