# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The Slurm scripts hand srun the job and the tool its flags."""

import os
import runpy
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / 'tools'
SIZE = ('GPUS', 'GPUS_PER_NODE', 'CPUS_PER_TASK', 'SRUN_ARGS', 'PYTHON')
SIZE += ('SLURM_JOB_ID', 'SLURM_RESTART_COUNT')
SRUN = """#!/bin/sh
echo "$MASTER_PORT"
printf "%s\\n" "$@"
exit "${STATUS:-0}"
"""
SCONTROL = '#!/bin/sh\necho "scontrol $*"\n'


@pytest.fixture
def submit(tmp_path):
    """Run a script where srun prints the port and its arguments."""
    for name, text in dict(srun=SRUN, scontrol=SCONTROL).items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

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


JOBS = [
    (
        ('slurm_train.sh', 'gpu', 'a job', 'c.py', '--amp'),
        dict(GPUS='16'),
        '--gres=gpu:8 --ntasks=16 --ntasks-per-node=8 --cpus-per-task=5 '
        '--kill-on-bad-exit=1 --signal=USR1@120',
        dict(config='c.py', amp=True),
    ),
    (  # No whole node for a small job.
        ('slurm_test.sh', 'gpu', 'a job', 'c', 'a b.pth', '--dump', 'p.pkl'),
        dict(
            GPUS='2',
            CPUS_PER_TASK='9',
            SRUN_ARGS='--time=10 --exclude=node1',
            PYTHON='/env/bin/python',
        ),
        '--gres=gpu:2 --ntasks=2 --ntasks-per-node=2 --cpus-per-task=9 '
        '--kill-on-bad-exit=1 --time=10 --exclude=node1',
        dict(config='c', checkpoint='a b.pth', dump='p.pkl'),
    ),
]


@pytest.mark.parametrize('given, settings, options, flags', JOBS)
def test_srun_gets_the_job_and_the_tool_its_flags(
    submit, monkeypatch, given, settings, options, flags
):
    done = submit(*given, **settings)
    assert done.returncode == 0, done.stderr
    port, *printed = done.stdout.splitlines()
    assert 12000 <= int(port) < 32000
    named = ['--partition=gpu', '--job-name=a job', *options.split()]
    assert printed[: len(named)] == named
    python, unbuffered, tool, *rest = printed[len(named) :]
    assert (python, unbuffered) == (settings.get('PYTHON', 'python'), '-u')
    assert tool == str(TOOLS / given[0].removeprefix('slurm_')).replace(
        '.sh', '.py'
    )
    monkeypatch.setattr('sys.argv', [tool, *rest])
    found = vars(runpy.run_path(tool)['parse_args']())
    assert found.items() >= dict(flags, launcher='slurm').items()


@pytest.mark.parametrize(
    'status, job, restarts, requeued',
    [
        ('138', '7', '0', True),
        ('138', '7', '2', True),
        ('138', '', '0', False),  # not within sbatch
        ('143', '7', '0', False),  # cancelled
    ],
)
def test_a_job_stopped_ahead_of_its_limit_is_queued_again(
    submit, status, job, restarts, requeued
):
    done = submit(
        *('slurm_train.sh', 'gpu', 'job', 'c.py'),
        STATUS=status,
        SLURM_JOB_ID=job,
        SLURM_RESTART_COUNT=restarts,
    )
    assert done.returncode == int(status)
    assert ('scontrol requeue 7' in done.stdout) == requeued
    assert ('--resume' in done.stdout.splitlines()) == (restarts != '0')


@pytest.mark.parametrize(
    'given',
    [('slurm_train.sh', 'gpu', 'job'), ('slurm_test.sh', 'gpu', 'job', 'c')],
)
def test_too_few_arguments_show_the_usage(submit, given):
    done = submit(*given)
    assert done.returncode == 2
    assert 'PARTITION JOB_NAME CONFIG' in done.stderr
    assert done.stdout == ''  # nothing was submitted
