# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
import pytest
from runs import quick_start


@pytest.fixture(scope='session', autouse=True)
def quick_starts():
    with pytest.MonkeyPatch.context() as patch:
        quick_start(patch)
        yield
