# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The Slurm scripts hand srun the job and the tool its flags."""

import os
import runpy
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / 'tools'
SIZE = ('GPUS', 'GPUS_PER_NODE', 'CPUS_PER_TASK', 'SRUN_ARGS', 'PYTHON')
SRUN = '#!/bin/sh\necho "$MASTER_PORT"\nprintf "%s\\n" "$@"\n'


@pytest.fixture
def submit(tmp_path):
    """Run a script where srun prints the port and its arguments."""
    srun = tmp_path / 'srun'
    srun.write_text(SRUN)
    srun.chmod(0o755)

    def run(script, *arguments, **settings):
        env = {k: v for k, v in os.environ.items() if k not in SIZE}
        env['PATH'] = f'{tmp_path}{os.pathsep}{env["PATH"]}'
        return subprocess.run(
            ['bash', str(TOOLS / script), *arguments],
            env=env | settings,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def parts(done):
    """Port, options of srun, and the command that srun starts."""
    assert done.returncode == 0, done.stderr
    port, *given = done.stdout.splitlines()
    start = next(i for i, arg in enumerate(given) if not arg.startswith('--'))
    return int(port), given[:start], given[start:]


def flags_of(tool, command, monkeypatch):
    """What the tool reads from its command line."""
    monkeypatch.setattr('sys.argv', command)
    return runpy.run_path(str(TOOLS / tool))['parse_args']()


def test_training_fills_nodes_of_eight(submit, monkeypatch):
    done = submit('slurm_train.sh', 'gpu', 'a job', 'c.py', '--amp', GPUS='16')
    port, options, command = parts(done)
    assert 12000 <= port < 32000
    assert options == [
        '--partition=gpu',
        '--job-name=a job',
        '--gres=gpu:8',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--cpus-per-task=5',
        '--kill-on-bad-exit=1',
    ]
    assert command[:3] == ['python', '-u', str(TOOLS / 'train.py')]
    flags = flags_of('train.py', command[2:], monkeypatch)
    assert (flags.config, flags.amp, flags.launcher) == ('c.py', True, 'slurm')


def test_a_small_job_asks_for_no_whole_node(submit, monkeypatch):
    done = submit(
        *('slurm_test.sh', 'gpu', 'job', 'c.py', 'a b.pth', '--dump', 'p.pkl'),
        GPUS='2',
        CPUS_PER_TASK='9',
        SRUN_ARGS='--time=10 --exclude=node1',
        MASTER_PORT='12345',
        PYTHON='/env/bin/python',
    )
    port, options, command = parts(done)
    assert port == 12345
    assert {'--gres=gpu:2', '--ntasks=2', '--ntasks-per-node=2'} < set(options)
    assert '--cpus-per-task=9' in options
    assert options[-2:] == ['--time=10', '--exclude=node1']
    assert command[0] == '/env/bin/python'
    flags = flags_of('test.py', command[2:], monkeypatch)
    assert (flags.checkpoint, flags.dump) == ('a b.pth', 'p.pkl')
    assert flags.launcher == 'slurm'


@pytest.mark.parametrize(
    'script, given',
    [
        ('slurm_train.sh', ['gpu', 'job']),
        ('slurm_test.sh', ['gpu', 'job', 'c']),
    ],
)
def test_too_few_arguments_show_the_usage(submit, script, given):
    done = submit(script, *given)
    assert done.returncode == 2
    assert 'PARTITION JOB_NAME CONFIG' in done.stderr
    assert done.stdout == ''  # nothing was submitted
