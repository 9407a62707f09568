# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The doctor sees what is missing or broken and names the fixing command."""

import importlib
import subprocess
import sys
from pathlib import Path

import mmcv
import pytest

from ca2st_mm.utils import environment

ROOT = Path(__file__).resolve().parent.parent
NEEDED = [p for p in environment.PACKAGES if p.needed]


def row_of(rows, name):
    return next(row for row in rows if row.name == name)


def test_healthy_environment_can_run_the_demo():
    rows = environment.examine()
    assert environment.can_run_demo(rows), environment.render(rows)
    assert 'The demo can run' in environment.render(rows)


@pytest.mark.parametrize('package', NEEDED, ids=lambda p: p.name)
def test_absent_package_is_a_red_line_with_a_command(monkeypatch, package):
    # None makes Python raise as if the module were not there.
    monkeypatch.setitem(sys.modules, package.module, None)
    row = environment.check_package(package)
    assert (row.status, row.found) == (environment.FAIL, 'not installed')
    assert row.fix == f'pip install {package.requirement}'
    assert not environment.can_run_demo([row])
    assert row.fix in environment.render([row])


@pytest.mark.parametrize('name', ['soundfile', 'decord'])
def test_absent_optional_package_does_not_stop_the_demo(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    rows = environment.examine()
    row = row_of(rows, name)
    assert row.status == environment.NOTE
    assert f'pip install {name}' in row.fix
    assert environment.can_run_demo(rows)


def test_broken_library_is_reported_not_raised(monkeypatch):
    real = importlib.import_module

    def broken(name, *args):
        if name == 'av':
            raise OSError('libavcodec.so: cannot open\nsecond line')
        return real(name, *args)

    monkeypatch.setattr(importlib, 'import_module', broken)
    rows = environment.examine()
    row = row_of(rows, 'PyAV')
    assert row.status == environment.FAIL
    assert row.found == 'broken: OSError: libavcodec.so: cannot open'
    assert '--force-reinstall av' in row.fix
    assert not environment.can_run_demo(rows)


@pytest.mark.parametrize(
    'version, status',
    [('2.2.0', 'FAIL'), ('1.7.2', 'FAIL'), ('2.1.0', 'ok'), ('2.0.1', 'ok')],
)
def test_mmcv_out_of_range_is_red(monkeypatch, version, status):
    monkeypatch.setattr(mmcv, '__version__', version)
    row = environment.check_package(
        next(p for p in environment.PACKAGES if p.name == 'mmcv')
    )
    assert row.status == status
    assert bool(row.fix) == (status == 'FAIL')


@pytest.mark.parametrize(
    'version, status', [((3, 9, 18), 'FAIL'), ((3, 10, 0), 'ok')]
)
def test_old_python_is_red(version, status):
    assert environment.check_python(version).status == status


def test_script_survives_a_python_with_nothing_installed():
    done = subprocess.run(
        [sys.executable, '-S', str(ROOT / 'tools' / 'doctor.py')],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == ''
    for package in NEEDED:
        assert f'fix: pip install {package.requirement}' in done.stdout


def test_commands_name_the_pinned_versions():
    pinned = (ROOT / 'requirements' / 'pinned.txt').read_text().split()
    for package in environment.PACKAGES:
        for requirement in package.requirement.split():
            if '==' in requirement:
                assert requirement in pinned
