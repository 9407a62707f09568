# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Two processes do what one does, whoever hears what."""

import json
import math
import os
import re
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
        out, _ = running.communicate(timeout=600)  # one that hangs fails
        assert running.returncode == 0, out[-3000:]
    (folder / 'out.txt').write_text(out)  # of the pair
    return folder


@pytest.fixture(scope='module')
def found(folder):
    """What one process found, and what two did."""
    return [
        json.loads((folder / name).read_text())
        for name in ('0-of-1.json', '0-of-2.json', '1-of-2.json')
    ]


RUNS = ['sound', 'silent', 'one_silent', 'verbs']


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


@pytest.mark.parametrize(
    'run, guilty', [('second', ['rank 1']), ('in_turn', ['rank 0', 'rank 1'])]
)
def test_if_one_sees_a_nan_both_stop_and_name_it(found, run, guilty):
    _, first, second = (results.get(run) for results in found)
    assert first['message'] == second['message']
    assert 'iterations 1 to 2' in first['message']
    assert len(first['losses']) == len(second['losses']) == 2
    named = re.findall(r'(rank \d): .*?clips:', first['message'])
    assert named == guilty


@pytest.mark.parametrize('run', ['once', 'micro'])
def test_below_the_patience_both_go_on_alike(found, run):
    _, first, second = (results.get(run) for results in found)
    assert first['message'] is second['message'] is None
    assert len(first['losses']) == len(second['losses']) == 4
    assert 'nan' in second['losses'] and 'nan' not in first['losses']
    assert first['weights'] == second['weights']
    assert math.isfinite(first['weights'])


def test_each_process_names_its_own_clips(found, folder):
    """MMEngine drops the warnings of all ranks but the first."""
    told = [
        line
        for line in (folder / 'out.txt').read_text().splitlines()
        if 'is not finite in iteration' in line
    ]
    guilty = [line for line in told if 'loss of rank 1 ' in line]
    assert guilty and all('Clips: ' in line for line in guilty)
    others = [line for line in told if 'of another rank' in line]
    assert others and not any('Clips: ' in line for line in others)


def test_each_process_says_where_it_waits(found, folder):
    assert [results['stalled'] for results in found[1:]] == [3, 3]
    said = (folder / 'out.txt').read_text()
    assert re.search(r'Rank 0 .*has been in training batch 2 of 3', said)
    data = r'Rank 1 .*has been waiting for training batch 2 .* in __getitem__'
    assert re.search(data, said)
    stacks = {
        path.name: path.read_text()
        for path in (folder / 'stalled').glob('*/stall_rank?.txt')
    }
    assert set(stacks) == {'stall_rank0.txt', 'stall_rank1.txt'}
