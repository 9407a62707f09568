# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""DeepSpeed accumulates by itself; rate and losses stay those of a step."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_two_processes import ROOT

SCRIPT = Path(__file__).with_name('with_deepspeed.py')


@pytest.mark.skipif(
    importlib.util.find_spec('deepspeed') is None,
    reason='DeepSpeed is not installed (pip install deepspeed==0.16.9)',
)
def test_the_same_losses_and_rates_as_without_it(tmp_path):
    own = os.environ.get('PYTHONPATH', '')
    env = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(ROOT), own]),
        DS_ACCELERATOR='cpu',
        CUDA_VISIBLE_DEVICES='',
        RANK='0',
        LOCAL_RANK='0',
        WORLD_SIZE='1',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT='0',  # any that is free
    )
    run = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads((tmp_path / 'found.json').read_text())
    losses, rates = found['plain']
    assert len(losses) == 8
    assert found['deepspeed'][0] == pytest.approx(losses, rel=1e-6)
    assert found['deepspeed'][1] == rates
