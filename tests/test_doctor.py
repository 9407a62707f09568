# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The doctor sees what is missing or broken and names the fixing command."""

import importlib
import importlib.metadata
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
PACKAGES = [
    (extra, text, text.split('>')[0])
    for extra, text in doctor.requirements()
    if ';' not in text  # on every machine
]


def test_healthy_environment_can_run_the_demo():
    rows = doctor.examine()
    assert doctor.can_run_demo(rows), doctor.render(rows)
    assert 'The demo can run' in doctor.render(rows)


@pytest.mark.parametrize('extra, text, name', PACKAGES)
def test_an_absent_package_is_a_line_with_a_command(
    monkeypatch, extra, text, name
):
    module = doctor.MODULES.get(name, name.replace('-', '_'))
    # None makes Python raise as if the module were not there.
    monkeypatch.setitem(sys.modules, module, None)
    row = doctor.check_package(extra, text)
    status = doctor.FAIL if extra == 'core' else doctor.NOTE
    assert (row.status, row.found) == (status, 'not installed')
    assert row.fix == f"{doctor.PIP}'{text}'"
    assert doctor.can_run_demo([row]) == (extra != 'core')
    assert row.fix in doctor.render([row])


def test_broken_library_is_reported_not_raised(monkeypatch):
    def broken(name):
        raise OSError('libavcodec.so: cannot open\nsecond line')

    monkeypatch.setattr(importlib, 'import_module', broken)
    row = doctor.check_package('core', 'av>=17')
    assert row.status == doctor.FAIL
    assert row.found == 'broken: OSError: libavcodec.so: cannot open'
    assert "--force-reinstall 'av>=17'" in row.fix


@pytest.mark.parametrize(
    'version, status',
    [('1.7.2', 'FAIL'), ('2.1.0', 'ok'), ('2.3.6', 'ok')],
)
def test_old_mmcv_is_red(monkeypatch, version, status):
    monkeypatch.setattr(mmcv, '__version__', version)
    row = doctor.check_package('core', 'mmcv-lite<2.3')
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
    for extra, text, _ in PACKAGES:
        label = 'fix' if extra == 'core' else 'if wanted'
        assert f"{label}: {doctor.PIP}'{text}'" in done.stdout


def test_versions_that_our_requirements_exclude_are_named():
    version = importlib.metadata.version('av')
    row = doctor.check_package('core', 'av>=999; python_version > "3"')
    assert row.found == f'{version}, not in >=999'
    assert (row.status, row.fix) == ('note', f"{doctor.PIP}'av>=999'")
    assert not doctor.check_package('core', 'av; python_version < "3"')


def test_an_installed_package_reads_its_metadata(monkeypatch):
    said = ['av>=17', 'onnx>=1; extra == "export"', 'ruff; extra == "tests"']
    state = doctor.requirements.__globals__
    monkeypatch.setitem(state, 'CHECKOUT', False)
    monkeypatch.setattr(importlib.metadata, 'requires', lambda name: said)
    found = doctor.requirements()
    assert found == [('core', said[0]), ('export', said[1])]


def test_two_kinds_of_mmcv_are_red(monkeypatch):
    two = [
        SimpleNamespace(metadata={'Name': n}) for n in ('mmcv', 'mmcv-lite')
    ]
    monkeypatch.setattr(importlib.metadata, 'distributions', lambda: two)
    row = doctor.check_package('core', 'mmcv-lite<2.3')
    assert row.status == doctor.FAIL
    assert 'pip uninstall -y mmcv mmcv-lite && pip install' in row.fix


def test_a_driver_that_is_too_old_is_named(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(Path, 'exists', lambda path: True)
    row = doctor.check_cuda()
    assert row.status == doctor.NOTE and '580' in row.found and row.fix
