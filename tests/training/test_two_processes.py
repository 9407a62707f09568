# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Two processes do what one does, whoever hears what."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from two_judges import METRICS, UNREADABLE

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name('two_processes.py')


def start(command, folder):
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    return subprocess.Popen(
        [sys.executable, *command, str(SCRIPT), str(folder)],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Where one process wrote what it found, and two."""
    folder = tmp_path_factory.mktemp('processes')
    torchrun = ['-m', 'torch.distributed.run', '--standalone']
    pair = [*torchrun, '--nproc-per-node=2']
    for running in [start([], folder), start(pair, folder)]:
        out, _ = running.communicate(timeout=240)  # one that hangs fails
        assert running.returncode == 0, out[-3000:]
    return folder


@pytest.fixture(scope='module')
def found(folder):
    """What one process found, and what two did."""
    return [
        json.loads((folder / name).read_text())
        for name in ('0-of-1.json', '0-of-2.json', '1-of-2.json')
    ]


RUNS = ['sound', 'half', 'silent', 'one_silent', 'verbs']


@pytest.mark.parametrize('run', RUNS)
def test_the_same_losses_and_weights(found, run):
    one, first, second = (results[run] for results in found)
    both = [
        sum(pair) / 2
        for pair in zip(first['losses'], second['losses'], strict=True)
    ]
    assert both == pytest.approx(one['losses'], rel=1e-5)
    assert first['losses'] != second['losses']
    assert first['rate'] == second['rate'] == one['rate']
    assert first['weights'] == second['weights']
    assert first['weights'] == pytest.approx(one['weights'], rel=1e-6)


@pytest.mark.parametrize('run', RUNS)
def test_the_same_metrics_whatever_the_padding(found, run):
    """Five clips, so that one of the processes judges a clip twice."""
    one, first, second = (results[run]['metrics'] for results in found)
    assert one['acc/num_clips'] == 5
    assert first == second == one


def test_one_process_can_hear_nothing(found):
    """That nobody waits for it is in the tests above."""
    one, first, second = (
        set(results['one_silent']['heard']) for results in found
    )
    assert (one, first, second) == ({0.0, 1.0}, {1.0}, {0.0})


@pytest.mark.parametrize('unreadable', UNREADABLE)
@pytest.mark.parametrize('name', METRICS)
def test_the_metrics_of_the_recipes_are_the_same(found, name, unreadable):
    """Five clips, so that one is judged twice; one cannot be read."""
    key = f'{name}-{unreadable}'
    one, first, second = (results['judged'][key] for results in found)
    counts = {k.split('/')[-1]: n for k, n in one.items()}
    assert (counts['num_used'], counts['num_expected']) == (4, 5)
    assert first == second == one


def test_each_process_goes_on_with_its_own_random_numbers(found):
    for results in found:
        whole, after = results['resumed']
        assert set(after) == {'2', '3'}
        assert after == {i: whole[i] for i in after}


def test_processes_draw_apart_and_start_together(found):
    """Else all GPUs would mix and drop alike, or train unequal models."""
    one, first, second = (results['draws'] for results in found)
    assert first['started'] == second['started'] == one['started']
    for drawn in ('shares', 'masks'):
        pairs = list(zip(first[drawn], second[drawn], strict=True))
        assert len(pairs) == 4
        assert all(a != b for a, b in pairs), drawn


@pytest.mark.skipif(
    not Path('/proc/self/task').exists(), reason='only Linux lists threads'
)
@pytest.mark.parametrize('rank', [0, 1])
def test_no_thread_of_gloo_outlives_the_run(folder, rank):
    """One that does brings the process down, if rarely, as Python ends."""
    left = folder / f'{rank}-of-2-threads.json'
    assert json.loads(left.read_text()) == []
