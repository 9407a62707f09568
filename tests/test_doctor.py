# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The doctor sees what is missing or broken and names the fixing command."""

import importlib
import importlib.metadata
import re
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
    assert row.fix == doctor.PIP + package.requirement
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
    [('1.7.2', 'FAIL'), ('2.1.0', 'ok'), ('2.3.6', 'ok')],
)
def test_old_mmcv_is_red(monkeypatch, version, status):
    monkeypatch.setattr(mmcv, '__version__', version)
    row = doctor.check_package(PACKAGES['mmcv'])
    assert row.status == status
    assert bool(row.fix) == (status == 'FAIL')


@pytest.mark.parametrize(
    'version, status',
    [((3, 9, 18), 'FAIL'), ((3, 10, 0), 'ok'), ((3, 14, 0), 'note')],
)
def test_old_python_is_red_and_a_newer_one_noted(version, status):
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
        assert f'fix: {doctor.PIP}{package.requirement}' in done.stdout


def test_what_it_needs_is_required():
    """Else `pip install ca2st-mm` leaves a red line."""
    listed = (ROOT / 'requirements/core.txt').read_text()
    names = {re.split('[<>=;]', line)[0] for line in listed.splitlines()}
    needed = {name for p in NEEDED for name in p.requirement.split()}
    assert needed - names == {'einops'}  # comes with MMAction2


def test_versions_that_our_requirements_exclude_are_named(monkeypatch):
    assert not doctor.check_ranges()
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata,
        'version',
        lambda name: '12.1' if name == 'av' else real(name),
    )
    [row] = doctor.check_ranges()
    assert (row.name, row.found) == ('av', '12.1, not in >=17')
    assert row.fix == 'pip install "av>=17"'


def test_two_kinds_of_mmcv_are_red(monkeypatch):
    two = [
        SimpleNamespace(metadata={'Name': n}) for n in ('mmcv', 'mmcv-lite')
    ]
    monkeypatch.setattr(importlib.metadata, 'distributions', lambda: two)
    row = doctor.check_package(PACKAGES['mmcv'])
    assert row.status == doctor.FAIL
    assert 'pip uninstall -y mmcv mmcv-lite && pip install' in row.fix


def test_a_driver_that_is_too_old_is_named(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(Path, 'exists', lambda path: True)
    row = doctor.check_cuda()
    assert row.status == doctor.NOTE and '580' in row.found and row.fix
