# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Report what is installed and how to install what is missing.

It ends with status 0 only if the demo can run, and imports the standard
library alone, as anything else may be missing.
"""

import argparse
import importlib
import importlib.metadata
import re
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

OK, FAIL, NOTE = 'ok', 'FAIL', 'note'
COLORS = {OK: '\033[32m', FAIL: '\033[31m', NOTE: '\033[33m'}
# The oldest driver on Linux for a CUDA that torch is built for.
DRIVERS = {'12': '525', '13': '580'}
MMCV = {'mmcv', 'mmcv-lite', 'onedl-mmcv'}
ROOT = Path(__file__).resolve().parent.parent
CHECKOUT = (ROOT / 'requirements/pinned.txt').is_file()
PIP = f'pip install {"-c requirements/pinned.txt " * CHECKOUT}'
EXTRAS = 'optional', 'experts', 'export', 'web'
# What is imported under another name than it is installed.
MODULES = {
    'mmaction2': 'mmaction',
    'mmcv-lite': 'mmcv',
    'opencv-contrib-python': 'cv2',
    'opencv-python': 'cv2',
    'pillow': 'PIL',
    'PyYAML': 'yaml',
    'scikit-learn': 'sklearn',
}


class Row(NamedTuple):
    """One line of the report."""

    role: str
    name: str
    found: str
    status: str = OK
    fix: str = ''


def requirements() -> list[tuple[str, str]]:
    """What we ask pip for, each with its extra, or ``core``."""
    if CHECKOUT:
        return [
            (name, line)
            for name in ('core', *EXTRAS)
            for line in (ROOT / f'requirements/{name}.txt')
            .read_text()
            .splitlines()
            if line[0] != '#'
        ]
    try:
        texts = importlib.metadata.requires('ca2st-mm') or []
    except importlib.metadata.PackageNotFoundError:
        return []
    extras = (re.search(r'extra == .(\w+)', text) for text in texts)
    named = [extra[1] if extra else 'core' for extra in extras]
    pairs = zip(named, texts, strict=True)
    return [pair for pair in pairs if pair[0] in ('core', *EXTRAS)]


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


def check_package(extra: str, requirement: str) -> Row | None:
    """Report on what a requirement asks for; None if not on this machine."""
    wanted, allowed = requirement.split(';')[0].strip(), None
    name = re.match(r'[\w-]+', wanted)[0]
    try:
        from packaging.requirements import Requirement
    except ImportError:  # then most is missing
        pass
    else:
        parsed = Requirement(requirement)
        if parsed.marker and not parsed.marker.evaluate(dict(extra=extra)):
            return None
        allowed = parsed.specifier
    version, problem = try_import(MODULES.get(name, name.replace('-', '_')))
    fix = f"{PIP}'{wanted}'"
    if version is None:
        status = FAIL if extra == 'core' else NOTE
        if problem != 'not installed':
            fix = f"{PIP}--force-reinstall '{wanted}'"
        return Row(extra, name, problem, status, fix)
    if name == 'mmcv-lite':
        found = importlib.metadata.distributions()
        kinds = sorted(MMCV & {one.metadata['Name'] for one in found})
        if len(kinds) > 1:
            version += f' of {" and ".join(kinds)}, which share a folder'
        if len(kinds) > 1 or version.startswith(('0.', '1.')):
            fix = f'pip uninstall -y {" ".join(kinds)} && {fix}'
            return Row(extra, name, version, FAIL, fix)
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Row(extra, name, version)  # another one has these modules
    if allowed and not allowed.contains(version, prereleases=True):
        return Row(extra, name, f'{version}, not in {allowed}', NOTE, fix)
    return Row(extra, name, version)


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Row:
    """Report on the interpreter."""
    text = '.'.join(map(str, version))
    if (3, 10) <= version[:2] < (3, 14):
        return Row('system', 'python', text)
    if version >= (3, 14):
        return Row('system', 'python', f'{text}, not tried yet', NOTE)
    fix = 'an environment of Python 3.10 to 3.13'
    if CHECKOUT:
        fix = 'rm -rf .venv && make env PYTHON=python3.12'
    return Row('system', 'python', text, FAIL, fix)


def check_cuda() -> Row:
    """Report on the accelerator; having none is no fault."""
    if try_import('torch')[0] is None:
        return Row('system', 'CUDA', 'unknown without torch', NOTE)
    import torch

    if not torch.cuda.is_available():
        found, fix = 'none, the CPU is used', ''
        cuda = torch.version.cuda
        if cuda and Path('/proc/driver/nvidia/version').exists():
            least = DRIVERS.get(cuda.split('.')[0], 'a newer one')
            found = f'torch does not use the GPU; CUDA {cuda} needs its driver'
            found += f' {least} or newer'
            fix = 'update the driver, or install torch for an older CUDA'
        return Row('system', 'CUDA', found, NOTE, fix)
    name = torch.cuda.get_device_name(0)
    found = f'{torch.version.cuda}, {torch.cuda.device_count()} x {name}'
    return Row('system', 'CUDA', found)


def check_ourselves() -> Row:
    """Report whether our package imports, which registers every part."""
    if CHECKOUT:  # where the package need not be installed
        sys.path.append(str(ROOT))
    version, problem = try_import('ca2st_mm')
    if version is not None:
        return Row('core', 'ca2st_mm', version)
    fix = 'pip install --no-deps -r requirements/pinned.txt'
    if not CHECKOUT:
        fix = 'pip install --force-reinstall ca2st-mm'
    elif problem == 'not installed':
        fix = 'pip install -e . --no-deps --no-build-isolation'
    return Row('core', 'ca2st_mm', problem, FAIL, fix)


def examine() -> list[Row]:
    """Run every check."""
    # First: it lets MMAction2 be imported, where only compat is needed.
    ourselves = check_ourselves()
    packages = (check_package(*one) for one in requirements())
    return [check_python(), check_cuda(), ourselves, *filter(None, packages)]


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
        else f'The demo can run: {"make demo" if CHECKOUT else "ca2st demo"}'
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
