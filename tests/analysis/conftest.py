# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools/analysis'


@pytest.fixture(scope='session')
def get_flops():
    """The module of the tool; its folder holds scripts and is no package."""
    sys.path.insert(0, str(TOOLS))
    try:
        import get_flops

        yield get_flops
    finally:
        sys.path.remove(str(TOOLS))
