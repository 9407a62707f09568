# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Look at the installed packages and say how to install what is missing.

Only the standard library is imported at the top, and nothing of ours: this
file must load, by its path, on a machine where nothing else works.
"""

import importlib
import sys
import warnings
from collections.abc import Callable
from typing import NamedTuple

OK, FAIL, NOTE = 'ok', 'FAIL', 'note'
MIN_PYTHON = (3, 10)
MMCV_FIX = 'pip uninstall -y mmcv && pip install mmcv-lite==2.1.0'
MMCV_RANGE = ((2, 0), (2, 2))


class Package(NamedTuple):
    """A package to look for.

    ``module`` is imported; ``requirement`` is what pip installs; only a
    ``needed`` one makes the report fail; ``role`` is the group in the table.
    """

    name: str
    module: str
    requirement: str
    needed: bool
    role: str


class Row(NamedTuple):
    """One line of the report."""

    role: str
    name: str
    found: str
    status: str
    fix: str


TORCH = 'torch==2.11.0 torchvision==0.26.0 torchaudio==2.11.0'

PACKAGES = (
    Package('torch', 'torch', TORCH, True, 'framework'),
    Package('torchvision', 'torchvision', TORCH, True, 'framework'),
    Package('torchaudio', 'torchaudio', TORCH, True, 'audio'),
    Package('numpy', 'numpy', 'numpy==2.4.6', True, 'framework'),
    Package('einops', 'einops', 'einops==0.8.2', True, 'framework'),
    Package('mmengine', 'mmengine', 'mmengine==0.10.7', True, 'OpenMMLab'),
    Package('mmcv', 'mmcv', 'mmcv-lite==2.1.0', True, 'OpenMMLab'),
    Package('mmaction2', 'mmaction', 'mmaction2==1.2.0', True, 'OpenMMLab'),
    Package(
        'mmpretrain', 'mmpretrain', 'mmpretrain==1.2.0', False, 'OpenMMLab'
    ),
    Package('PyAV', 'av', 'av==18.0.0', True, 'video'),
    Package('decord', 'decord', 'decord==0.6.0', False, 'video'),
    Package('torchcodec', 'torchcodec', 'torchcodec', False, 'video'),
    Package('opencv', 'cv2', 'opencv-python==5.0.0.93', True, 'video'),
    Package('soundfile', 'soundfile', 'soundfile==0.14.0', False, 'audio'),
    Package('librosa', 'librosa', 'librosa==0.11.0', True, 'audio'),
    Package('safetensors', 'safetensors', 'safetensors==0.8.0', True, 'files'),
    Package('matplotlib', 'matplotlib', 'matplotlib==3.11.2', True, 'report'),
    Package('scikit-learn', 'sklearn', 'scikit-learn==1.9.1', True, 'report'),
    Package(
        'tensorboard', 'tensorboard', 'tensorboard==2.21.0', False, 'report'
    ),
)


def try_import(module: str) -> tuple[str | None, str]:
    """Import a module, whatever happens.

    Args:
        module: Its dotted name.

    Returns:
        The version and an empty string; or None and the first line of what
        went wrong.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            return None, 'not installed'
        return None, _first_line(error)
    except Exception as error:  # a broken binary may raise anything
        return None, _first_line(error)
    return str(getattr(found, '__version__', 'unknown version')), ''


def _first_line(error: BaseException) -> str:
    """Shorten an error to one line that fits into a table."""
    lines = str(error).strip().splitlines() or ['']
    return f'broken: {type(error).__name__}: {lines[0]}'[:120]


def _numbers(version: str) -> tuple[int, ...]:
    """Turn '2.1.0+cpu' into (2, 1)."""
    parts = version.split('+')[0].split('.')[:2]
    return tuple(int(''.join(c for c in p if c.isdigit()) or 0) for p in parts)


def check_package(package: Package) -> Row:
    """Report on one package."""
    version, problem = try_import(package.module)
    fix = f'pip install {package.requirement}'
    if version is None:
        if problem != 'not installed':
            fix = f'pip install --force-reinstall {package.requirement}'
        status = FAIL if package.needed else NOTE
        return Row(package.role, package.name, problem, status, fix)
    if package.name == 'mmcv':
        low, high = MMCV_RANGE
        if not low <= _numbers(version) < high:
            return Row(package.role, 'mmcv', version, FAIL, MMCV_FIX)
    return Row(package.role, package.name, version, OK, '')


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Row:
    """Report on the interpreter."""
    text = '.'.join(str(part) for part in version)
    if tuple(version[:2]) >= MIN_PYTHON:
        return Row('framework', 'python', text, OK, '')
    fix = 'rm -rf .venv && make env PYTHON=python3.11'
    return Row('framework', 'python', text, FAIL, fix)


def check_cuda() -> Row:
    """Report on the accelerator; having none is no fault."""
    version, _ = try_import('torch')
    if version is None:
        return Row('framework', 'CUDA', 'unknown without torch', NOTE, '')
    import torch

    if not torch.cuda.is_available():
        return Row('framework', 'CUDA', 'none, the CPU is used', NOTE, '')
    name = torch.cuda.get_device_name(0)
    found = f'{torch.version.cuda}, {torch.cuda.device_count()} x {name}'
    return Row('framework', 'CUDA', found, OK, '')


def check_ourselves() -> Row:
    """Report whether our package imports, which registers every part."""
    version, problem = try_import('ca2st_mm')
    if version is not None:
        return Row('OpenMMLab', 'ca2st_mm', version, OK, '')
    fix = 'pip install -e . --no-deps --no-build-isolation'
    if problem != 'not installed':
        fix = 'pip install -r requirements/pinned.txt'
    return Row('OpenMMLab', 'ca2st_mm', problem, FAIL, fix)


def examine() -> list[Row]:
    """Run every check, grouped by role in the order of first appearance."""
    checks: list[Callable[[], Row]] = [check_python, check_cuda]
    rows = [check() for check in checks]
    rows += [check_package(package) for package in PACKAGES]
    rows.append(check_ourselves())
    order: dict[str, int] = {}
    for row in rows:
        order.setdefault(row.role, len(order))
    return sorted(rows, key=lambda row: order[row.role])


def render(rows: list[Row], color: bool = False) -> str:
    """Draw the report.

    Args:
        rows: What :func:`examine` found.
        color: Whether to colour the status for a terminal.
    """
    paint = {OK: '\033[32m', FAIL: '\033[31m', NOTE: '\033[33m'}
    wide = max(len(row.name) for row in rows)
    role_wide = max(len(row.role) for row in rows)
    lines = []
    for row in rows:
        status = f'{row.status:4}'
        if color:
            status = f'{paint[row.status]}{status}\033[0m'
        lines.append(
            f'{status}  {row.role:{role_wide}}  {row.name:{wide}}  {row.found}'
        )
        if row.fix:
            label = 'fix' if row.status == FAIL else 'if wanted'
            lines.append(f'      {label}: {row.fix}')
    failed = sum(row.status == FAIL for row in rows)
    lines.append(
        f'The demo cannot run: {failed} line(s) marked FAIL.'
        if failed
        else 'The demo can run: make demo'
    )
    return '\n'.join(lines)


def can_run_demo(rows: list[Row]) -> bool:
    """Whether nothing that the demo needs is missing."""
    return all(row.status != FAIL for row in rows)
