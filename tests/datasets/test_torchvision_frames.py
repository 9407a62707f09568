# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Frame by frame, torchvision's operations give what they give on clips."""

import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import TorchVisionWrapper
from torchvision.transforms import RandAugment

from ca2st_mm.datasets.transforms import TorchVisionFrames

SETTINGS = dict(op='RandAugment', num_ops=1, magnitude=21, interpolation=2)


def outputs(kind, seed, frames):
    """What a transform gives, and the random state it leaves."""
    torch.manual_seed(seed)
    results = kind(**SETTINGS).transform(dict(imgs=list(frames)))
    return np.stack(results['imgs']), torch.get_rng_state()


@pytest.fixture(scope='module')
def frames():
    rng = np.random.default_rng(0)
    # Frames of different brightness and range: a statistic taken over the
    # clip instead of the frame would show.
    scale = np.linspace(0.2, 1.0, 4)[:, None, None, None]
    return (rng.integers(0, 256, (4, 30, 42, 3)) * scale).astype(np.uint8)


def test_every_operation_gives_the_same_values(frames):
    count = len(RandAugment()._augmentation_space(31, (30, 42)))
    seen = set()
    for seed in range(12 * count):
        torch.manual_seed(seed)
        seen.add(int(torch.randint(count, (1,))))
        ours, our_state = outputs(TorchVisionFrames, seed, frames)
        theirs, their_state = outputs(TorchVisionWrapper, seed, frames)
        np.testing.assert_array_equal(ours, theirs)
        assert torch.equal(our_state, their_state)
    assert len(seen) == count


def test_the_input_is_left_alone(frames):
    before = frames.copy()
    for seed in range(30):
        outputs(TorchVisionFrames, seed, frames)
    np.testing.assert_array_equal(frames, before)
