# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
import copy
import functools
import gc
import sys
from pathlib import Path

import pytest
import torch
from yapf.yapflib import yapf_api

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# MMEngine formats the config several times a run and asks compilers for their
# versions: seconds each time, and nothing of ours.
yapf_api.FormatCode = lambda text, **_: (text, True)

for helpers in (HERE, HERE / 'models', HERE / 'datasets/benchmarks'):
    sys.path.insert(0, str(helpers))
# Tools import what lies next to them.
for tools in ('tools', 'tools/analysis', 'tools/data', 'tools/visualize'):
    sys.path.append(str(ROOT / tools))

import ca2st_mm  # noqa: E402, F401, I001

from mmengine._strategy import base  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmengine.runner import runner  # noqa: E402

base.collect_env = runner.collect_env = dict
# Configs name it (training.py); tests that build parts alone need it too.
init_default_scope('mmaction')

_parse = functools.cache(Config._file2dict)


def parse_once(filename, *args, **kwargs):
    """Tests read the same recipes, and these the same bases, many times."""
    path = Path(filename).resolve()
    if path.is_relative_to(ROOT / 'configs'):
        return copy.deepcopy(_parse(str(path), *args, **kwargs))
    return _parse.__wrapped__(filename, *args, **kwargs)


Config._file2dict = staticmethod(parse_once)


# What takes longest, longest first, so that both processes end together.
LONGEST = (
    *('test_two_processes.py', 'test_runs.py', 'test_frames.py'),
    *('test_interruptions.py', 'test_memory.py', 'test_export.py'),
    *('test_golden.py', 'test_commands.py', 'test_foreign_experts.py'),
    *('test_get_flops.py', 'test_browser.py', 'test_paper.py'),
)


def pytest_configure(config):
    if hasattr(config.option, 'loadscopereorder'):  # of pytest-xdist
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.fixture(scope='module', autouse=True)
def frozen_garbage():
    """Data sets collect garbage: seconds, with all that lives to look at."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def meta_device(monkeypatch):
    """Build on the meta device: shapes without numbers, at full size."""
    for init in ('trunc_normal_', 'kaiming_uniform_'):  # seconds for nothing
        monkeypatch.setattr(torch.nn.init, init, lambda table, **_: table)
    linspace = torch.linspace

    # Drop path rates are computed numbers even there.
    def linspace_on_cpu(*args, **kwargs):
        return linspace(*args, **{**kwargs, 'device': 'cpu'})

    monkeypatch.setattr(torch, 'linspace', linspace_on_cpu)
    return torch.device('meta')
