# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
import sys
from pathlib import Path

import pytest
import torch
from yapf.yapflib import yapf_api

# MMEngine formats the config several times a run and asks compilers for their
# versions: seconds each time, and nothing of ours.
yapf_api.FormatCode = lambda text, **_: (text, True)

for helpers in (Path(__file__).parent, Path(__file__).parent / 'models'):
    sys.path.insert(0, str(helpers))

import ca2st_mm  # noqa: E402, F401, I001

from mmengine._strategy import base  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmengine.runner import runner  # noqa: E402

base.collect_env = runner.collect_env = dict
# Configs name it (training.py); tests that build parts alone need it too.
init_default_scope('mmaction')


@pytest.fixture
def meta_device(monkeypatch):
    """Build on the meta device: shapes without numbers, at full size."""
    linspace = torch.linspace

    # Drop path rates are computed numbers even there.
    def linspace_on_cpu(*args, **kwargs):
        return linspace(*args, **{**kwargs, 'device': 'cpu'})

    monkeypatch.setattr(torch, 'linspace', linspace_on_cpu)
    return torch.device('meta')
