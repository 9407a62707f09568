# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Two processes measure what one does, and none waits for a silent one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from two_judges import METRICS, UNREADABLE, find

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name('two_judges.py')


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    """What one process found, and what two did."""
    folder = tmp_path_factory.mktemp('judges')
    pair = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone']
        + ['--nproc-per-node=2', str(SCRIPT), str(folder)],
        cwd=folder,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
        timeout=240,  # one that hangs fails
    )
    assert pair.returncode == 0, (pair.stdout + pair.stderr)[-3000:]
    one = json.loads(json.dumps(find(folder)))  # as those of the two
    names = ('judged-0-of-2.json', 'judged-1-of-2.json')
    return [one, *(json.loads((folder / n).read_text()) for n in names)]


@pytest.mark.parametrize('unreadable', UNREADABLE)
@pytest.mark.parametrize('name', METRICS)
def test_the_metrics_of_the_recipes_are_the_same(found, name, unreadable):
    """Five clips, so that one is judged twice; one cannot be read."""
    key = f'{name}-{unreadable}'
    one, first, second = (results['judged'][key] for results in found)
    counts = {k.split('/')[-1]: n for k, n in one.items()}
    assert (counts['num_used'], counts['num_expected']) == (4, 5)
    assert first == second == one


def test_one_process_without_sound_holds_up_nobody(found):
    one, first, second = (results['unequal'] for results in found)
    shares = [r['share_with_sound'] for r in (one, first, second)]
    assert shares == [0.5, 1.0, 0.0]
    both = [
        sum(pair) / 2
        for pair in zip(first['losses'], second['losses'], strict=True)
    ]
    assert both == pytest.approx(one['losses'], rel=1e-5)
    assert first['weights'] == second['weights']
    assert first['weights'] == pytest.approx(one['weights'], rel=1e-6)
    assert first['metrics'] == second['metrics'] == one['metrics']
