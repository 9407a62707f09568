# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""State dicts with the parameter names of the authors' models."""

import json
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT.parent / 'shared' / 'reference'


def weights_of(name, dtype=torch.float32):
    """Random tensors of the right names, cut to a size that tests can bear."""
    path = REFERENCE / f'keys_{name}.json'
    if not path.is_file():
        pytest.skip(f'key lists of the reference models not at {REFERENCE}')
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.randn(
            [min(side, 12) for side in shape], generator=generator
        ).to(dtype)
        for key, shape in json.loads(path.read_text()).items()
    }
