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


JOBS = [
    (
        ('slurm_train.sh', 'gpu', 'a job', 'c.py', '--amp'),
        dict(GPUS='16'),
        '--gres=gpu:8 --ntasks=16 --ntasks-per-node=8 --cpus-per-task=5 '
        '--kill-on-bad-exit=1',
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
    'given',
    [('slurm_train.sh', 'gpu', 'job'), ('slurm_test.sh', 'gpu', 'job', 'c')],
)
def test_too_few_arguments_show_the_usage(submit, given):
    done = submit(*given)
    assert done.returncode == 2
    assert 'PARTITION JOB_NAME CONFIG' in done.stderr
    assert done.stdout == ''  # nothing was submitted
