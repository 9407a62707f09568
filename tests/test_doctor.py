# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The doctor sees what is missing or broken and names the fixing command."""

import importlib
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mmcv
import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / 'tools' / 'doctor.py'
doctor = SimpleNamespace(**runpy.run_path(str(TOOL)))
PACKAGES = {package.name: package for package in doctor.PACKAGES}
NEEDED = [package for package in doctor.PACKAGES if package.needed]


def test_healthy_environment_can_run_the_demo():
    rows = doctor.examine()
    assert doctor.can_run_demo(rows), doctor.render(rows)
    assert 'The demo can run' in doctor.render(rows)


@pytest.mark.parametrize('package', doctor.PACKAGES, ids=lambda p: p.name)
def test_an_absent_package_is_a_line_with_a_command(monkeypatch, package):
    # None makes Python raise as if the module were not there.
    monkeypatch.setitem(sys.modules, package.module, None)
    row = doctor.check_package(package)
    status = doctor.FAIL if package.needed else doctor.NOTE
    assert (row.status, row.found) == (status, 'not installed')
    assert row.fix == f'pip install {package.requirement}'
    assert doctor.can_run_demo([row]) == (not package.needed)
    assert row.fix in doctor.render([row])


def test_broken_library_is_reported_not_raised(monkeypatch):
    def broken(name):
        raise OSError('libavcodec.so: cannot open\nsecond line')

    monkeypatch.setattr(importlib, 'import_module', broken)
    row = doctor.check_package(PACKAGES['PyAV'])
    assert row.status == doctor.FAIL
    assert row.found == 'broken: OSError: libavcodec.so: cannot open'
    assert '--force-reinstall av' in row.fix


@pytest.mark.parametrize(
    'version, status',
    [('2.2.0', 'FAIL'), ('1.7.2', 'FAIL'), ('2.1.0', 'ok'), ('2.0.1', 'ok')],
)
def test_mmcv_out_of_range_is_red(monkeypatch, version, status):
    monkeypatch.setattr(mmcv, '__version__', version)
    row = doctor.check_package(PACKAGES['mmcv'])
    assert row.status == status
    assert bool(row.fix) == (status == 'FAIL')


@pytest.mark.parametrize(
    'version, status', [((3, 9, 18), 'FAIL'), ((3, 10, 0), 'ok')]
)
def test_old_python_is_red(version, status):
    assert doctor.check_python(version).status == status


def test_script_survives_a_python_with_nothing_installed():
    done = subprocess.run(
        [sys.executable, '-S', str(TOOL)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == ''
    for package in NEEDED:
        assert f'fix: pip install {package.requirement}' in done.stdout


def test_commands_name_the_pinned_versions():
    pinned = (ROOT / 'requirements' / 'pinned.txt').read_text().split()
    for package in doctor.PACKAGES:
        for requirement in package.requirement.split():
            if '==' in requirement:
                assert requirement in pinned
