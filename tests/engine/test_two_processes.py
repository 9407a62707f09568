# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Two processes do what one does, whichever clips have audio."""

import json
import math
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from two_processes import ENGINES, RUNS, find_all

# Two processes import everything anew: a fork of this one would inherit the
# locks of its threads, and on a busy machine sometimes wait for one for ever.
pytestmark = pytest.mark.timeout(900)
SCRIPT = Path(__file__).with_name('two_processes.py')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Where two processes wrote what they found, and what they said."""
    folder = tmp_path_factory.mktemp('processes')
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(('127.0.0.1', 0))
        ports = [str(free.getsockname()[1]) for free in (one, other)]
    pair = []
    for rank in (0, 1):
        environment = dict(
            os.environ,
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE='2',
            MASTER_ADDR='127.0.0.1',
            OMP_NUM_THREADS='1',
        )
        with (folder / f'{rank}.txt').open('w') as said:
            pair.append(
                subprocess.Popen(
                    [sys.executable, SCRIPT, folder, *ports],
                    env=environment,
                    stdout=said,
                    stderr=said,
                )
            )
    for rank, process in enumerate(pair):
        code = process.wait()  # one that hangs ends itself, with its stacks
        (folder / f'{rank}.code').write_text(str(code))
        said = (folder / f'{rank}.txt').read_text()
        assert (folder / f'{rank}.json').exists(), said[-5000:]
    return folder


@pytest.fixture(scope='module')
def found(folder):
    """What one process found, this one, and what two did."""
    one = json.loads(json.dumps(find_all(folder / 'one')))
    pair = (folder / f'{rank}.json' for rank in (0, 1))
    return [one, *(json.loads(path.read_text()) for path in pair)]


@pytest.mark.parametrize('run', RUNS)
def test_the_same_losses_and_weights(found, run):
    one, first, second = (results[run] for results in found)
    both = [
        sum(pair) / 2
        for pair in zip(first['losses'], second['losses'], strict=True)
    ]
    assert both == pytest.approx(one['losses'], rel=1e-5)
    assert first['losses'] != second['losses']
    assert first['lr'] == second['lr'] == one['lr']
    assert first['weights'] == second['weights']
    assert first['weights'] == pytest.approx(one['weights'], rel=1e-6)


@pytest.mark.parametrize('run', RUNS)
def test_the_same_metrics_whatever_the_padding(found, run):
    """Five clips, so that one is judged twice; one cannot be read."""
    one, first, second = (results[run]['metrics'] for results in found)
    assert (one['acc/num_used'], one['acc/num_expected']) == (4, 5)
    assert first == second == one


def test_one_process_can_be_without_audio(found):
    """That nobody waits for it is in the tests above."""
    one, first, second = (set(results['one']['present']) for results in found)
    assert (one, first, second) == ({0.0, 1.0}, {1.0}, {0.0})


@pytest.mark.parametrize('engine', ENGINES)
def test_a_resumed_run_has_the_losses_of_a_whole_one(found, engine):
    """Of each process, whose random numbers differ; within an epoch."""
    for results in found[1:]:
        whole, after, said = results['resumed'][engine]
        assert after == {i: whole[i] for i in after}
        # Sent to one of them in iteration 4, counted from 0.
        assert sorted(after) == ['6', '7']
        assert 'SIGTERM stopped training after iteration 6' in said
        assert 'interrupted.pth' in said


def test_what_the_first_refuses_the_others_say_too(found):
    """Not that their connection broke."""
    said = [results['refused'] for results in found[1:]]
    assert said == ['there is no checkpoint lost.pth to resume'] * 2


def test_sharded_or_not_they_train_alike(found):
    for results in found[1:]:
        plain, ddp, fsdp = (
            list(results['resumed'][name][0].values()) for name in ENGINES
        )
        assert plain == ddp
        assert fsdp == pytest.approx(plain, rel=1e-4)


def test_processes_draw_apart_and_start_together(found):
    """Else all GPUs would drop alike, or train unequal models."""
    one, first, second = (results['draws'] for results in found)
    assert first['started'] == second['started'] == one['started']
    pairs = list(zip(first['masks'], second['masks'], strict=True))
    assert len(pairs) == 4 and all(a != b for a, b in pairs)


@pytest.mark.skipif(
    not Path('/proc/self/task').exists(), reason='only Linux lists threads'
)
def test_no_thread_of_gloo_outlives_the_run(found):
    """One that does brings the process down, if rarely, as Python ends."""
    assert [results['threads'] for results in found[1:]] == [[], []]


def test_if_one_sees_a_nan_both_stop_and_name_it(found):
    _, first, second = (results.get('in_turn') for results in found)
    assert first['message'] == second['message']
    assert 'iterations 1 to 2' in first['message']
    assert len(first['losses']) == len(second['losses']) == 2
    named = re.findall(r'(rank \d): .*?clips:', first['message'])
    assert named == ['rank 0', 'rank 1']


def test_below_the_patience_both_go_on_alike(found):
    """The bad micro-batch is one of two of its step."""
    _, first, second = (results.get('micro') for results in found)
    assert first['message'] is second['message'] is None
    assert len(first['losses']) == len(second['losses']) == 4
    assert 'nan' in second['losses'] and 'nan' not in first['losses']
    assert first['weights'] == second['weights']
    assert math.isfinite(first['weights'])


def test_the_log_names_the_clips_of_all_processes(folder):
    """MMEngine drops the warnings of all ranks but the first."""
    told = [
        line
        for rank in (0, 1)
        for line in (folder / f'{rank}.txt').read_text().splitlines()
        if 'The loss is not finite in iteration' in line
    ]
    # One for each iteration, not one for each rank.
    assert len(told) == 4
    assert sum('Clips of rank 1: ' in line for line in told) == 3


def test_each_process_says_where_it_waits(found, folder):
    assert [results['stalled'] for results in found[1:]] == [3, 3]
    first, second = ((folder / f'{r}.txt').read_text() for r in (0, 1))
    assert re.search(r'Rank 0 .*has been in training batch 2 ', first)
    data = r'Rank 1 .*has been after training batch 1 .* in __getitem__'
    assert re.search(data, second)
    stacks = {
        path.name: path.read_text()
        for path in (folder / 'two/stalled').glob('*/stall_rank?.txt')
    }
    assert set(stacks) == {'stall_rank0.txt', 'stall_rank1.txt'}


def test_a_process_that_stalls_for_good_ends_them_all(folder):
    first, second = ((folder / f'{r}.code').read_text() for r in (0, 1))
    assert (first, second) == ('1', '1')
    # The first one's is an error in the exchange with the other.
    assert 'gloo' in (folder / '0.txt').read_text().splitlines()[-1]
    [stacks] = folder.glob('stalled_for_good/*/stall_rank1.txt')
    assert 'in __getitem__' in stacks.read_text()
