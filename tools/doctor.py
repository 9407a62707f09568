# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Report what is installed and how to install what is missing.

``python tools/doctor.py`` ends with status 0 only if the demo can run.  It
imports the standard library alone, as anything else may be missing.
"""

import argparse
import importlib
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

OK, FAIL, NOTE = 'ok', 'FAIL', 'note'
COLORS = {OK: '\033[32m', FAIL: '\033[31m', NOTE: '\033[33m'}


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
    status: str = OK
    fix: str = ''


TORCH = 'torch==2.11.0 torchvision==0.26.0 torchaudio==2.11.0'

PACKAGES = (
    Package('torch', 'torch', TORCH, True, 'framework'),
    Package('torchvision', 'torchvision', TORCH, True, 'framework'),
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
    Package('torchaudio', 'torchaudio', TORCH, True, 'audio'),
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
    """The version of a module, or None, and what went wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            found = importlib.import_module(module)
    except Exception as error:  # a broken binary may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            return None, 'not installed'
        first = (str(error).strip().splitlines() or [''])[0]
        return None, f'broken: {type(error).__name__}: {first}'[:120]
    return str(getattr(found, '__version__', 'unknown version')), ''


def check_package(package: Package) -> Row:
    """Report on one package."""
    version, problem = try_import(package.module)
    if version is None:
        force = '' if problem == 'not installed' else '--force-reinstall '
        status = FAIL if package.needed else NOTE
        fix = f'pip install {force}{package.requirement}'
        return Row(package.role, package.name, problem, status, fix)
    if package.name == 'mmcv' and version.split('.')[:2] not in (
        ['2', '0'],
        ['2', '1'],
    ):
        fix = f'pip uninstall -y mmcv && pip install {package.requirement}'
        return Row(package.role, 'mmcv', version, FAIL, fix)
    return Row(package.role, package.name, version)


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Row:
    """Report on the interpreter."""
    text = '.'.join(map(str, version))
    if tuple(version[:2]) >= (3, 10):
        return Row('framework', 'python', text)
    fix = 'rm -rf .venv && make env PYTHON=python3.11'
    return Row('framework', 'python', text, FAIL, fix)


def check_cuda() -> Row:
    """Report on the accelerator; having none is no fault."""
    if try_import('torch')[0] is None:
        return Row('framework', 'CUDA', 'unknown without torch', NOTE)
    import torch

    if not torch.cuda.is_available():
        return Row('framework', 'CUDA', 'none, the CPU is used', NOTE)
    name = torch.cuda.get_device_name(0)
    found = f'{torch.version.cuda}, {torch.cuda.device_count()} x {name}'
    return Row('framework', 'CUDA', found)


def check_ourselves() -> Row:
    """Report whether our package imports, which registers every part."""
    # Next to a checkout the package need not be installed.
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    version, problem = try_import('ca2st_mm')
    if version is not None:
        return Row('OpenMMLab', 'ca2st_mm', version)
    fix = 'pip install -r requirements/pinned.txt'
    if problem == 'not installed':
        fix = 'pip install -e . --no-deps --no-build-isolation'
    return Row('OpenMMLab', 'ca2st_mm', problem, FAIL, fix)


def examine() -> list[Row]:
    """Run every check, grouped by role in the order of first appearance."""
    rows = [check_python(), check_cuda(), *map(check_package, PACKAGES)]
    rows.append(check_ourselves())
    roles = list(dict.fromkeys(row.role for row in rows))
    return sorted(rows, key=lambda row: roles.index(row.role))


def can_run_demo(rows: list[Row]) -> bool:
    """Whether nothing that the demo needs is missing."""
    return all(row.status != FAIL for row in rows)


def render(rows: list[Row], color: bool = False) -> str:
    """Draw the report.

    Args:
        rows: What :func:`examine` found.
        color: Whether to colour the status for a terminal.
    """
    wide = max(len(row.name) for row in rows)
    role_wide = max(len(row.role) for row in rows)
    lines = []
    for row in rows:
        status = f'{row.status:4}'
        if color:
            status = f'{COLORS[row.status]}{status}\033[0m'
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


def main() -> int:
    """Print the report and return the exit status."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    rows = examine()
    print(render(rows, color=sys.stdout.isatty()))
    return 0 if can_run_demo(rows) else 1


if __name__ == '__main__':
    sys.exit(main())
