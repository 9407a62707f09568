# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""If one process sees a NaN, all skip, count and stop alike."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name('one_bad_process.py')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('one_bad_process')
    command = [
        *[sys.executable, '-m', 'torch.distributed.run', '--standalone'],
        *['--nproc-per-node=2', str(SCRIPT), str(folder)],
    ]
    running = subprocess.Popen(
        command,
        cwd=folder,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        out, _ = running.communicate(timeout=90)  # one that hangs fails
    finally:
        running.terminate()  # torchrun ends its processes then
    assert running.returncode == 0, out[-3000:]
    (folder / 'out.txt').write_text(out)
    return folder


@pytest.fixture(scope='module')
def found(folder):
    return [json.loads((folder / f'{rank}.json').read_text()) for rank in '01']


def reports_of(folder, run):
    """By rank."""
    return [
        json.loads(path.read_text())
        for path in sorted((folder / run).rglob('non_finite_loss_rank?.json'))
    ]


@pytest.mark.parametrize('run', ['second', 'in_turn'])
def test_both_stop_at_the_same_step(found, run):
    first, second = (results[run] for results in found)
    assert first['message'] == second['message']
    assert 'iterations 1 to 2' in first['message']
    assert first['steps'] == second['steps'] == 2


def test_the_report_of_the_process_with_the_nan_is_named(folder, found):
    message = found[0]['second']['message']
    assert 'rank1.json' in message and 'rank0.json' not in message
    message = found[0]['in_turn']['message']
    assert 'rank0.json' in message and 'rank1.json' in message


def test_each_process_reports_its_own_steps(folder, found):
    first, second = reports_of(folder, 'second')
    assert [report['rank'] for report in (first, second)] == [0, 1]
    assert all(step['loss'] > 0 for step in first['bad_steps'])
    assert [step['loss'] for step in second['bad_steps']] == ['nan', 'nan']
    assert first['run_again']['inputs_finite']
    assert not second['run_again']['inputs_finite']
    for step in second['bad_steps']:
        broken = [clip['inputs_not_finite'] for clip in step['clips']]
        assert broken == [['imgs'], []]
    # The second run is of the wrapped model, and alike where nothing is odd.
    told = first['bad_steps'][-1]['loss']
    assert first['run_again']['loss'] == pytest.approx(told, rel=1e-6)


@pytest.mark.parametrize('run', ['once', 'micro'])
def test_below_the_patience_both_go_on_alike(folder, found, run):
    first, second = (results[run] for results in found)
    assert first['message'] is second['message'] is None
    assert first['steps'] == second['steps'] == 4
    assert 'nan' in second['losses'] and 'nan' not in first['losses']
    assert first['weights'] == second['weights']
    assert math.isfinite(first['weights'])
    assert reports_of(folder, run) == []


def test_the_clips_of_the_second_process_are_named_at_once(folder):
    """MMEngine drops its warnings."""
    told = [
        line
        for line in (folder / 'out.txt').read_text().splitlines()
        if 'not finite in iteration' in line
    ]
    guilty = [line for line in told if 'loss of rank 1 ' in line]
    assert guilty and all('Clips: ' in line for line in guilty)
    others = [line for line in told if 'of another rank' in line]
    assert others and not any('Clips: ' in line for line in others)
