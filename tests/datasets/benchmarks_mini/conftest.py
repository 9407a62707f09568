# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from media import write_world  # noqa: E402


@pytest.fixture(scope='session')
def world(tmp_path_factory):
    """A folder whose ``data/`` holds ten small benchmarks."""
    root = tmp_path_factory.mktemp('world')
    write_world(root)
    return root


@pytest.fixture
def inside(world, monkeypatch):
    """Run in that folder."""
    monkeypatch.chdir(world)
