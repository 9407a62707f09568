# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
import sys
from pathlib import Path

import pytest
import torch

# `media`, which writes miniature benchmarks.
BENCHMARKS = Path(__file__).parents[1] / 'datasets' / 'benchmarks_mini'
sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture
def meta_device(monkeypatch):
    """Build on the meta device: shapes without numbers, at full size."""
    linspace = torch.linspace

    # Rates of stochastic depth are numbers even there.
    def linspace_on_cpu(*args, **kwargs):
        return linspace(*args, **{**kwargs, 'device': 'cpu'})

    monkeypatch.setattr(torch, 'linspace', linspace_on_cpu)
    return torch.device('meta')
