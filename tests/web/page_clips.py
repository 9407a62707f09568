# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Clips for the page, and what it needs beyond the package."""

import numpy as np
import pytest

from ca2st_mm.datasets.media_writer import write_clip

MAX_BYTES = 3_000_000


def need_server():
    """Skip where the extra ``web`` is not installed."""
    for package in ('starlette', 'uvicorn'):
        pytest.importorskip(
            package,
            reason='the page needs pip install -r requirements/web.txt',
        )


def write_long(path, seconds, rate=16000):
    """A clip of blocks that change, with noise to hear, at 8 fps."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (round(8 * seconds), 4, 4, 3), np.uint8)
    frames = blocks.repeat(8, axis=1).repeat(8, axis=2)
    sound = None
    if rate:
        sound = 0.1 * rng.standard_normal(round(seconds * rate))
    write_clip(str(path), frames, 8, sound, rate or 16000)
    return str(path)
