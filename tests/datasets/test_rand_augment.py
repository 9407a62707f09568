# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Our RandAugment gives what timm's gives, and draws as it does."""

import numpy as np
import pytest
from PIL import Image
from timm.data import auto_augment

from ca2st_mm.datasets.transforms import RandAugmentFrames, rand_augment
from ca2st_mm.datasets.transforms.rand_augment import OPERATIONS, SIGNED

# What is exact: tables of values.
EXACT = {name for name in OPERATIONS if name not in SIGNED} | {
    'BrightnessIncreasing',
    'ContrastIncreasing',
}


def make_frames(size=(30, 42)):
    rng = np.random.default_rng(0)
    # Frames of different brightness and range: a statistic taken over the
    # clip instead of the frame would show, and so would one over channels.
    scale = np.linspace(0.2, 1.0, 12).reshape(4, 1, 1, 3)
    noise = (rng.integers(0, 256, (4, *size, 3)) * scale).astype(np.uint8)
    return [*noise, np.full((*size, 3), 77, np.uint8), noise[0] // 100]


def theirs(frames, name, level, monkeypatch):
    """Each frame by timm, with the sign of ``level``."""
    # It draws the sign.
    monkeypatch.setattr(
        auto_augment, '_randomly_negate', lambda v: v if level >= 0 else -v
    )
    operation = auto_augment.AugmentOp(
        name,
        prob=1.0,
        magnitude=abs(level),
        hparams=dict(interpolation=Image.BICUBIC),
    )
    return [np.asarray(operation(Image.fromarray(f))) for f in frames]


@pytest.mark.parametrize('size', [(30, 42), (2, 9), (1, 1), (240, 320)])
@pytest.mark.parametrize('name', OPERATIONS)
def test_every_operation_is_that_of_timm(name, size, monkeypatch):
    levels = [0, 0.4, 3.3, 6.1, 7, 7.9, 9.9] if size == (30, 42) else [7.3]
    frames = make_frames(size)
    before = [frame.copy() for frame in frames]
    for level in levels:
        for signed in {level, -level if name in SIGNED else level}:
            ours = np.stack(OPERATIONS[name](frames, signed)).astype(int)
            others = np.stack(theirs(frames, name, signed, monkeypatch))
            difference = np.abs(ours - others)
            if name in EXACT:
                assert difference.max() == 0
            else:
                assert difference.max() <= 1
                assert np.sum(difference > 0) <= 1 + difference.size / 1000
    np.testing.assert_array_equal(frames, before)


def test_operations_are_those_of_timm():
    assert list(OPERATIONS) == auto_augment._RAND_INCREASING_TRANSFORMS


def test_draws_are_those_of_timm(monkeypatch):
    """Four of 15 operations with repetition, each with probability 1/2."""
    drawn = []

    def record(name):
        return lambda frames, level: drawn.append((name, level)) or frames

    for name in OPERATIONS:
        monkeypatch.setitem(OPERATIONS, name, record(name))
    augment, clips = RandAugmentFrames(), 3000
    np.random.seed(0)
    for _ in range(clips):
        augment(dict(imgs=make_frames((1, 1))[:1]))
    assert len(drawn) / clips == pytest.approx(2, rel=0.03)
    names, levels = map(np.array, zip(*drawn, strict=True))
    for name in OPERATIONS:
        assert np.mean(names == name) == pytest.approx(1 / 15, rel=0.2)
    assert np.mean(np.abs(levels)) == pytest.approx(7, abs=0.05)
    assert np.std(np.abs(levels)) == pytest.approx(0.5, abs=0.05)
    negative = levels[np.isin(names, SIGNED)] < 0
    assert np.mean(negative) == pytest.approx(0.5, abs=0.03)
    assert np.all(levels[~np.isin(names, SIGNED)] > 0)


def test_all_frames_get_the_same():
    """Also where their memory order is another one (flipped)."""
    frame = make_frames()[0][:, ::-1]
    np.random.seed(0)
    for _ in range(60):
        first, *others = RandAugmentFrames()(dict(imgs=[frame] * 3))['imgs']
        assert all(np.array_equal(first, other) for other in others)


def test_large_and_many_frames_are_rotated_in_parts(monkeypatch):
    frames = make_frames()
    whole = OPERATIONS['Rotate'](frames, 7.0)
    # OpenCV has up to 128 channels, 42 frames.
    many = OPERATIONS['Rotate'](frames * 12, 7.0)
    np.testing.assert_array_equal(many, whole * 12)
    monkeypatch.setattr(rand_augment, '_MOST', 30 * 42)
    monkeypatch.setattr(rand_augment, '_BLOCK', 100)
    np.testing.assert_array_equal(OPERATIONS['Rotate'](frames, 7.0), whole)
