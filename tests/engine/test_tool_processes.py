# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""`tools/train.py` as processes of its own, killed or on several machines.

It is killed once, or as often as the variable KILLS says.
"""

import json
import os
import random
import socket
import subprocess
import sys
import time

import pytest
from tool_runs import (
    ROOT,
    STEPS,
    run_tool,
    same_weights,
    toy_config,
    write_data,
)

# By default test_interruptions kills runs in this process, and
# test_two_processes trains without the tool.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
KILLS = int(os.environ.get('KILLS', 1))
EPOCHS, TIMEOUT = 6 + 2 * KILLS, 300
# What is slow at the start and nothing of ours is left out there.
START = (
    'import sys, ca2st_mm; from tool_runs import run_tool; '
    'sys.exit(run_tool(*sys.argv[1:]))'
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Clips, and a config of which every step is logged."""
    folder = tmp_path_factory.mktemp('tool')
    write_data(folder / 'data')
    cfg = toy_config(folder / 'data')
    cfg.default_hooks.logger.interval = 1
    # Something random to continue with, besides the order of the clips.
    cfg.model.backbone.links[0].drop_path_rate = 0.5
    cfg.dump(folder / 'config.py')
    return folder


def flags(config, folder):
    return [
        *[config, '--no-validate', '--seed', 7, '--work-dir', folder],
        *['--cfg-options', f'train_cfg.max_epochs={EPOCHS}'],
    ]


def losses_by_step(folder):
    """What each start of a run has logged, the first start first."""
    starts = []
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        lines = [json.loads(line) for line in path.open()]
        starts.append({x['step']: x['loss'] for x in lines if 'loss' in x})
    return starts


def kill_after(config, folder, step, delay):
    """Start the tool and kill it so many seconds after a step is logged."""
    tool = ['train.py', *flags(config, folder), '--resume']
    command = [sys.executable, '-c', START, *tool]
    paths = map(str, [ROOT, ROOT / 'tests', ROOT / 'tests/models'])
    with (folder / 'output.txt').open('w') as output:
        running = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(paths)),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    limit = time.monotonic() + TIMEOUT
    try:
        while step not in {s for start in _logged(folder) for s in start}:
            said = (folder / 'output.txt').read_text()[-2000:]
            assert running.poll() is None, said
            assert time.monotonic() < limit, said
            time.sleep(0.002)
        time.sleep(delay)
    finally:
        running.kill()
    assert running.wait() == -9  # it had not ended by itself


def _logged(folder):
    try:
        return losses_by_step(folder)
    except json.JSONDecodeError:  # a line that is being written
        return []


def test_a_killed_run_ends_with_the_same_losses_and_weights(folder, tmp_path):
    config = folder / 'config.py'
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    broken.mkdir()
    assert run_tool('train.py', *flags(config, whole)) == 0
    [expected] = losses_by_step(whole)
    assert sorted(expected) == list(range(1, EPOCHS * STEPS + 1))

    chance, step = random.Random(20), STEPS
    for _ in range(KILLS):
        # The first step of an epoch comes after the checkpoint of the last
        # one.  Five epochs are left for us to be late in.
        step = min(
            max([step, *(s for start in _logged(broken) for s in start)])
            + chance.randint(1, 2 * STEPS),
            EPOCHS * STEPS - 5,
        )
        kill_after(config, broken, step, delay=chance.uniform(0, 0.1))
    assert not (broken / f'epoch_{EPOCHS}.pth').exists()
    assert run_tool('train.py', *flags(config, broken), '--resume') == 0

    *before, after = losses_by_step(broken)
    first = min(after)
    assert first > STEPS and (first - 1) % STEPS == 0  # of a later epoch
    assert sorted(after) == list(range(first, EPOCHS * STEPS + 1))
    for start in [*before, after]:
        assert start == {step: expected[step] for step in start}
    last = f'epoch_{EPOCHS}.pth'
    assert same_weights(whole / last, broken / last)


def test_machines_that_share_no_disk_validate_and_resume(folder):
    """The second is sent the checkpoint that the first one chose."""
    for run in ('whole', 'broken'):
        for node in (0, 1):
            (folder / run / str(node)).mkdir(parents=True)

    def launch(run, *flags):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        command = [
            *[sys.executable, '-m', 'torch.distributed.run', '--nnodes', 2],
            *['--master-addr', '127.0.0.1', '--master-port', port],
            *['--nproc-per-node', 1, '--node-rank'],
        ]
        tool = [
            *[ROOT / 'tools/train.py', folder / 'config.py', '--seed', 3],
            *['--launcher', 'pytorch', '--work-dir', 'work', *flags],
        ]
        agents = [
            subprocess.Popen(
                list(map(str, [*command, node, *tool])),
                cwd=folder / run / str(node),
                env=dict(
                    os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'
                ),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for node in (0, 1)
        ]
        said = [agent.communicate(timeout=600)[0] for agent in agents]
        assert [a.returncode for a in agents] == [0, 0], said

    two = 'train_cfg.max_epochs=2'
    launch('whole', '--cfg-options', two)
    launch('broken')
    launch('broken', '--resume', '--cfg-options', two)
    first, second = (folder / 'broken' / str(node) / 'work' for node in (0, 1))
    sent = second / 'epoch_1.pth'
    assert sent.read_bytes() == (first / 'epoch_1.pth').read_bytes()
    assert not (second / 'epoch_2.pth').exists()
    assert same_weights(
        first / 'epoch_2.pth', folder / 'whole' / '0' / 'work' / 'epoch_2.pth'
    )
    scores = [
        'acc/top1' in line
        for path in first.glob('*/vis_data/scalars.json')
        for line in path.open()
    ]
    assert sum(scores) == 2
