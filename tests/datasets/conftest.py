# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Files the data tests share."""

import gc
from pathlib import Path

import numpy as np
import pytest

from ca2st_mm.datasets.media_writer import write_clip

SHARED = Path(__file__).resolve().parents[2].parent / 'shared'


def shared(name: str) -> Path:
    """A file next to the repository; skips the test where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f'../shared/{name} is not next to this checkout')
    return path


@pytest.fixture
def shared_file():
    """The function :func:`shared`."""
    return shared


@pytest.fixture
def quick_garbage():
    """What was there before is left out when garbage is collected."""
    gc.freeze()
    yield
    gc.collect()
    gc.unfreeze()


@pytest.fixture(scope='session')
def plain_clip(tmp_path_factory) -> str:
    """Two seconds, 25 fps, 64 x 64, a 440 Hz tone."""
    path = str(tmp_path_factory.mktemp('clip') / 'plain.mp4')
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(32000) / 16000)
    write_clip(path, np.full((50, 64, 64, 3), 90, np.uint8), 25, tone)
    return path


@pytest.fixture(scope='session')
def silent_clip(tmp_path_factory) -> str:
    """Two seconds without an audio track."""
    path = str(tmp_path_factory.mktemp('clip') / 'silent.mp4')
    write_clip(path, np.full((50, 64, 64, 3), 90, np.uint8), 25)
    return path
