# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
import sys
from pathlib import Path

import pytest
import torch

# `get_flops`, which counts what a model costs.
sys.path.append(str(Path(__file__).resolve().parents[2] / 'tools/analysis'))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
