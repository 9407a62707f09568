# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Our RandAugment draws and gives what torchvision's gives."""

import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import TorchVisionWrapper
from torchvision.transforms import InterpolationMode, RandAugment
from torchvision.transforms.autoaugment import _apply_op

from ca2st_mm.datasets.transforms import RandAugmentFrames
from ca2st_mm.datasets.transforms.rand_augment import OPERATIONS

SIZE = (30, 42)
SPACE = RandAugment()._augmentation_space(31, SIZE)
# Bilinear weights are rounded otherwise there.
WARPED = ('ShearX', 'ShearY', 'Rotate')


def make_frames(size=SIZE):
    rng = np.random.default_rng(0)
    # Frames of different brightness and range: a statistic taken over the
    # clip instead of the frame would show, and so would one over channels.
    scale = np.linspace(0.2, 1.0, 12).reshape(4, 1, 1, 3)
    noise = (rng.integers(0, 256, (4, *size, 3)) * scale).astype(np.uint8)
    return [*noise, np.full((*size, 3), 77, np.uint8), noise[0] // 100]


def theirs(frames, name, strength):
    """Each frame by torchvision."""
    planes = [torch.from_numpy(f.transpose(2, 0, 1).copy()) for f in frames]
    return [
        _apply_op(p, name, strength, InterpolationMode.BILINEAR, None)
        .numpy()
        .transpose(1, 2, 0)
        for p in planes
    ]


def assert_equal(ours, others, name):
    difference = np.abs(np.stack(ours).astype(int) - np.stack(others))
    if name in WARPED:
        assert difference.max() <= 1
        assert np.mean(difference > 0) < 0.05
    else:
        assert difference.max() == 0


@pytest.mark.parametrize('name', SPACE)
def test_every_operation_at_every_strength(name):
    strengths, signed = SPACE[name]
    frames = make_frames()
    before = [frame.copy() for frame in frames]
    for strength in sorted({float(s) for s in strengths.ravel()}):
        for signed_strength in {strength, -strength if signed else strength}:
            assert_equal(
                OPERATIONS[name](frames, signed_strength),
                theirs(frames, name, signed_strength),
                name,
            )
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize('size', [(2, 9), (1, 1), (240, 320)])
@pytest.mark.parametrize('name', SPACE)
def test_any_size(name, size):
    strengths, _ = RandAugment()._augmentation_space(31, size)[name]
    strength = float(strengths.expand(31)[21])
    frames = make_frames(size)
    assert_equal(
        OPERATIONS[name](frames, strength),
        theirs(frames, name, strength),
        name,
    )


def test_the_same_seed_draws_the_same():
    seen = set()
    frames = make_frames()[:2]
    settings = dict(num_ops=1, magnitude=21)
    wrapper = TorchVisionWrapper('RandAugment', interpolation=2, **settings)
    for seed in range(12 * len(SPACE)):
        torch.manual_seed(seed)
        seen.add(int(torch.randint(len(SPACE), (1,))))
        torch.manual_seed(seed)
        ours = RandAugmentFrames(**settings)(dict(imgs=list(frames)))['imgs']
        state = torch.get_rng_state()
        torch.manual_seed(seed)
        others = wrapper(dict(imgs=list(frames)))['imgs']
        assert torch.equal(state, torch.get_rng_state())
        assert_equal(ours, others, 'ShearX')
    assert len(seen) == len(SPACE)


def test_flipped_frames():
    """Views of another memory order are fine."""
    frames = [frame[:, ::-1] for frame in make_frames()]
    for seed in range(40):
        torch.manual_seed(seed)
        RandAugmentFrames(num_ops=3)(dict(imgs=frames))
