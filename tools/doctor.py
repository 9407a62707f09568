# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Report what is installed and how to install what is missing.

It ends with status 0 only if the demo can run, and imports the standard
library alone, as anything else may be missing.
"""

import argparse
import importlib
import importlib.metadata
import platform
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


TORCH = 'torch torchvision torchaudio'
# The oldest driver on Linux for a CUDA that torch is built for.
DRIVERS = {'12': '525', '13': '580'}
MMCV = {'mmcv', 'mmcv-lite', 'onedl-mmcv'}
ROOT = Path(__file__).resolve().parent.parent
CHECKOUT = (ROOT / 'requirements/pinned.txt').is_file()
PIP = f'pip install {"-c requirements/pinned.txt " * CHECKOUT}'
# Lists in requirements/ of what users install; all but the first are extras.
LISTS = 'core', 'optional', 'export', 'web', 'experts'

PACKAGES = (
    Package('torch', 'torch', TORCH, True, 'framework'),
    Package('torchvision', 'torchvision', TORCH, True, 'framework'),
    Package('numpy', 'numpy', 'numpy', True, 'framework'),
    Package('einops', 'einops', 'einops', True, 'framework'),
    Package('mmengine', 'mmengine', 'mmengine', True, 'OpenMMLab'),
    Package('mmcv', 'mmcv', 'mmcv-lite', True, 'OpenMMLab'),
    Package('mmaction2', 'mmaction', 'mmaction2', True, 'OpenMMLab'),
    Package('mmpretrain', 'mmpretrain', 'mmpretrain', False, 'OpenMMLab'),
    Package('PyAV', 'av', 'av', True, 'video'),
    Package('decord', 'decord', 'decord', False, 'video'),
    Package('torchcodec', 'torchcodec', 'torchcodec', False, 'video'),
    Package('opencv', 'cv2', 'opencv-python', True, 'video'),
    Package('torchaudio', 'torchaudio', TORCH, True, 'audio'),
    Package('soundfile', 'soundfile', 'soundfile', False, 'audio'),
    Package('librosa', 'librosa', 'librosa', True, 'audio'),
    Package('safetensors', 'safetensors', 'safetensors', True, 'files'),
    Package('matplotlib', 'matplotlib', 'matplotlib', True, 'report'),
    Package('scikit-learn', 'sklearn', 'scikit-learn', True, 'report'),
    Package('tensorboard', 'tensorboard', 'tensorboard', True, 'report'),
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
    fix = PIP + package.requirement
    if version is None:
        status = FAIL if package.needed else NOTE
        if problem != 'not installed':
            fix = f'{PIP}--force-reinstall {package.requirement}'
        elif package.name == 'decord' and (
            (platform.system(), platform.machine()) != ('Linux', 'x86_64')
        ):
            fix = ''
            problem = 'there is no wheel for this machine'
        return Row(package.role, package.name, problem, status, fix)
    if package.name == 'mmcv':
        installed = {
            d.metadata['Name'] for d in importlib.metadata.distributions()
        }
        both = sorted(MMCV & installed)
        if len(both) > 1 or version.startswith(('0.', '1.')):
            if len(both) > 1:
                version += f' of {" and ".join(both)}, which share a folder'
            fix = f'pip uninstall -y {" ".join(both)} && {fix}'
            return Row(package.role, 'mmcv', version, FAIL, fix)
    return Row(package.role, package.name, version)


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Row:
    """Report on the interpreter."""
    text = '.'.join(map(str, version))
    if (3, 10) <= version[:2] < (3, 14):
        return Row('framework', 'python', text)
    if version >= (3, 14):
        return Row('framework', 'python', f'{text}, not tried yet', NOTE)
    fix = 'an environment of Python 3.10 to 3.13'
    if CHECKOUT:
        fix = 'rm -rf .venv && make env PYTHON=python3.12'
    return Row('framework', 'python', text, FAIL, fix)


def check_cuda() -> Row:
    """Report on the accelerator; having none is no fault."""
    if try_import('torch')[0] is None:
        return Row('framework', 'CUDA', 'unknown without torch', NOTE)
    import torch

    if not torch.cuda.is_available():
        found, fix = 'none, the CPU is used', ''
        cuda = torch.version.cuda
        if cuda and Path('/proc/driver/nvidia/version').exists():
            least = DRIVERS.get(cuda.split('.')[0], 'a newer one')
            found = f'torch does not use the GPU; CUDA {cuda} needs its driver'
            found += f' {least} or newer'
            fix = 'update the driver, or install torch for an older CUDA'
        return Row('framework', 'CUDA', found, NOTE, fix)
    name = torch.cuda.get_device_name(0)
    found = f'{torch.version.cuda}, {torch.cuda.device_count()} x {name}'
    return Row('framework', 'CUDA', found)


def check_ourselves() -> Row:
    """Report whether our package imports, which registers every part."""
    if CHECKOUT:  # where the package need not be installed
        sys.path.append(str(ROOT))
    version, problem = try_import('ca2st_mm')
    if version is not None:
        return Row('OpenMMLab', 'ca2st_mm', version)
    fix = 'pip install --no-deps -r requirements/pinned.txt'
    if not CHECKOUT:
        fix = 'pip install --force-reinstall ca2st-mm'
    elif problem == 'not installed':
        fix = 'pip install -e . --no-deps --no-build-isolation'
    return Row('OpenMMLab', 'ca2st_mm', problem, FAIL, fix)


def check_ranges() -> list[Row]:
    """Report on packages whose version our requirements do not allow."""
    try:
        from packaging.requirements import Requirement

        texts = []
        if not CHECKOUT:
            texts = importlib.metadata.requires('ca2st-mm')
    except ImportError:  # of packaging, or we are not installed
        return []
    for name in LISTS if CHECKOUT else ():
        texts += (ROOT / f'requirements/{name}.txt').read_text().splitlines()
    rows = []
    for text in filter(None, (text.split('#')[0].strip() for text in texts)):
        wanted = Requirement(text)
        if wanted.marker and not any(
            wanted.marker.evaluate(dict(extra=name)) for name in LISTS
        ):
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            continue  # reported above, or an extra
        if not wanted.specifier.contains(version, prereleases=True):
            found = f'{version}, not in {wanted.specifier}'
            fix = f'pip install "{wanted.name}{wanted.specifier}"'
            rows.append(Row('versions', wanted.name, found, NOTE, fix))
    return rows


def examine() -> list[Row]:
    """Run every check, grouped by role in the order of first appearance."""
    # First: it lets MMAction2 be imported, where only compat is needed.
    ourselves = check_ourselves()
    rows = [check_python(), check_cuda(), *map(check_package, PACKAGES)]
    rows += [ourselves, *check_ranges()]
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
