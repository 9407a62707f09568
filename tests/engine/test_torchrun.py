# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""`torchrun tools/train.py` trains what the tool alone does."""

import os
import socket
import subprocess
import sys

import pytest
from tool_runs import (
    ROOT,
    same_weights,
    toy_config,
    write_data,
)

# By default test_two_processes does so without the tool.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]


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
