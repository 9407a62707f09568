# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
import pytest
import torch


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
