# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""`torchrun tools/train.py` trains what the tool alone does."""

import json
import os
import socket
import subprocess
import sys

import pytest
from tool_runs import (
    BATCH,
    ROOT,
    STEPS,
    run_tool,
    same_weights,
    toy_config,
    weights_of,
    write_data,
)

# By default test_two_processes does so without the tool.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
PROCESSES = 2


def flags(config, folder, processes):
    """An epoch with the same clips in a step for any number of processes."""
    batch = f'train_dataloader.batch_size={BATCH // processes}'
    logger = 'default_hooks.logger.interval=1'
    return [
        *[config, '--seed', '3', '--work-dir', folder],
        *['--cfg-options', batch, logger],
    ]


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Work folders of a run of one process and of one of two."""
    folder = tmp_path_factory.mktemp('torchrun')
    write_data(folder / 'data')
    config, one, two = (folder / n for n in ('config.py', 'one', 'two'))
    toy_config(folder / 'data').dump(config)
    command = [
        *[sys.executable, '-m', 'torch.distributed.run', '--standalone'],
        *['--nproc-per-node', PROCESSES, 'tools/train.py'],
        *[*flags(config, two, PROCESSES), '--launcher', 'pytorch'],
    ]
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
        timeout=600,  # one that hangs fails
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert run_tool('train.py', *flags(config, one, 1)) == 0
    return one, two


def test_two_processes_train_the_weights_of_one(folders):
    one, two = (weights_of(folder / 'epoch_1.pth') for folder in folders)
    assert one.keys() == two.keys()
    for name, weight in one.items():
        assert weight.numpy() == pytest.approx(
            two[name].numpy(), rel=1e-4, abs=1e-6
        ), name


def test_one_of_them_writes_for_both(folders):
    logs = []
    for folder in folders:
        [scalars] = folder.glob('*/vis_data/scalars.json')
        logs.append([json.loads(line) for line in scalars.open()])
    one, two = logs
    losses = [line['loss'] for line in two if 'loss' in line]
    assert len(losses) == STEPS  # not those of each process
    measured, same = (
        {k: v for line in log for k, v in line.items() if k.startswith('acc/')}
        for log in (one, two)
    )
    assert measured and measured == same


@pytest.fixture(scope='module')
def nodes(tmp_path_factory):
    """Folders of two machines that share no disk: two launchers."""
    folder = tmp_path_factory.mktemp('nodes')
    write_data(folder / 'data')
    cfg = toy_config(folder / 'data')
    cfg.model.backbone.links[0].drop_path_rate = 0.5
    cfg.default_hooks.logger.interval = 1
    cfg.dump(folder / 'config.py')
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
    return folder


def test_machines_that_share_no_disk_validate_and_resume(nodes):
    """The second is sent the checkpoint that the first one chose."""
    first, second = (nodes / 'broken' / str(node) / 'work' for node in (0, 1))
    sent = second / 'epoch_1.pth'
    assert sent.read_bytes() == (first / 'epoch_1.pth').read_bytes()
    assert not (second / 'epoch_2.pth').exists()
    assert same_weights(
        first / 'epoch_2.pth', nodes / 'whole' / '0' / 'work' / 'epoch_2.pth'
    )
    scores = [
        'acc/top1' in line
        for path in first.glob('*/vis_data/scalars.json')
        for line in path.open()
    ]
    assert sum(scores) == 2
