# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What is in the source is in the wheel, configs and tools for mim too."""

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ca2st_mm import __version__, zoo

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ('ca2st_mm', 'configs', 'tools', 'requirements')
LEFTOVERS = shutil.ignore_patterns('__pycache__', '*.pyc', '.mim')


def files_below(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file()
    }


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """A clean copy of the source, and the wheel made of its sdist."""
    source = tmp_path_factory.mktemp('source')
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=LEFTOVERS)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, source)
    out = tmp_path_factory.mktemp('dist')
    # Without a flag, `build` makes the wheel from the sdist, so a file that
    # MANIFEST.in forgets is missed here as well.
    command = ['-m', 'build', '--no-isolation', '--outdir', str(out)]
    done = subprocess.run(
        [sys.executable, *command, str(source)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (wheel,) = out.glob('*.whl')
    return source, wheel


def in_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_package_configs_tools_and_nothing_else(built):
    source, wheel = built
    expected = {f'ca2st_mm/{f}' for f in files_below(source / 'ca2st_mm')}
    # Where mim looks for them.
    expected.add('ca2st_mm/.mim/model-index.yml')
    for folder in ('configs', 'tools'):
        names = files_below(source / folder)
        expected |= {f'ca2st_mm/.mim/{folder}/{name}' for name in names}
    assert 'ca2st_mm/compat/__init__.py' in expected
    assert 'ca2st_mm/.mim/tools/train.py' in expected
    info = f'ca2st_mm-{__version__}.dist-info/'
    expected.add(f'ca2st_mm-{__version__}.data/scripts/ca2st')
    assert expected == {n for n in in_wheel(wheel) if not n.startswith(info)}


def test_no_link_of_the_description_leads_nowhere(built):
    """Relative links do, on the page of a package index."""
    with zipfile.ZipFile(built[1]) as archive:
        name = f'ca2st_mm-{__version__}.dist-info/METADATA'
        said = archive.read(name).decode()
    assert 'with or without audio' in said
    assert re.findall(r'\]\((?!https://)[^)]*', said) == []


# The zoo alone, without what `import ca2st_mm` imports.
LIST_ZOO = """
import sys, types
package = types.ModuleType('ca2st_mm')
package.__path__ = [sys.argv[1] + '/ca2st_mm']
sys.modules['ca2st_mm'] = package
from ca2st_mm import zoo
print(zoo.catalogue.find_index())
print(len(zoo.entries()))
"""


def test_zoo_finds_its_metafiles_in_the_wheel(built, tmp_path):
    with zipfile.ZipFile(built[1]) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, '-c', LIST_ZOO, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    index, count = done.stdout.split()
    assert Path(index) == tmp_path / 'ca2st_mm' / '.mim' / 'model-index.yml'
    assert int(count) == len(zoo.entries()) > 10


def test_every_folder_with_code_is_a_package():
    for path in (ROOT / 'ca2st_mm').rglob('*.py'):
        if '.mim' not in path.relative_to(ROOT).parts:
            assert (path.parent / '__init__.py').is_file(), path.parent


def requirements_in(name):
    for line in (ROOT / 'requirements' / name).read_text().splitlines():
        line = line.split('#')[0].strip()
        if line:
            yield Requirement(line)


PYTHONS = ['3.10', '3.11', '3.12', '3.13']
LISTS = ['core', 'optional', 'export', 'web', 'experts', 'tests', 'build']


@pytest.mark.parametrize('python', PYTHONS)
def test_pinned_set_lies_in_every_range(python):
    """There is one version of everything, for each Python."""
    environment = dict(
        python_version=python,
        python_full_version=f'{python}.9',
        sys_platform='linux',
        platform_machine='x86_64',
    )
    pinned = {}

    def wanted(*names):
        for requirement in (r for n in names for r in requirements_in(n)):
            marker = requirement.marker
            if marker is None or marker.evaluate(environment):
                yield requirement

    for pin in wanted('pinned.txt'):
        name = canonicalize_name(pin.name)
        assert name not in pinned
        pinned[name] = str(pin.specifier).removeprefix('==')
    for requirement in wanted(*(f'{name}.txt' for name in LISTS)):
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_supported_pythons_are_the_same_everywhere():
    setup = (ROOT / 'setup.cfg').read_text()
    classified = re.findall(r'Python :: (\d+\.\d+)', setup)
    assert classified == PYTHONS
    first, last = PYTHONS[0], PYTHONS[-1]
    assert f'python_requires = >={first}\n' in setup
    for name in ('README.md', 'docs/get_started.md', 'docs/support.md'):
        assert f'Python {first} to {last}' in (ROOT / name).read_text(), name
    makefile = (ROOT / 'Makefile').read_text()
    assert f'--python-version {first} ' in makefile


# Names on PyPI that differ from the module's.
DISTRIBUTIONS = dict(
    PIL='pillow',
    cv2='opencv-python',
    mmaction='mmaction2',
    mmcv='mmcv-lite',
    sklearn='scikit-learn',
    yaml='PyYAML',
)


def imported_on_load(path):
    """Top-level packages that a module cannot be imported without."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (name.name.split('.')[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split('.')[0]


def names_in(*files):
    return {
        canonicalize_name(requirement.name)
        for name in files
        for requirement in requirements_in(name)
    }


def test_what_the_package_imports_is_required():
    core = names_in('core.txt')
    # The page is an extra of its own: nobody imports it.
    page = core | names_in('web.txt')
    # torchcodec's reader is imported when a config asks for it.
    own = {'ca2st_mm', 'torchcodec', *sys.stdlib_module_names}
    for path in (ROOT / 'ca2st_mm').rglob('*.py'):
        if '.mim' in path.relative_to(ROOT).parts:
            continue
        required = page if path.parent.name == 'web' else core
        for module in set(imported_on_load(path)) - own:
            name = DISTRIBUTIONS.get(module, module)
            assert canonicalize_name(name) in required, f'{path}: {module}'


PLATFORMS = (
    'x86_64-unknown-linux-gnu',
    'aarch64-unknown-linux-gnu',
    'aarch64-apple-darwin',
)


@pytest.mark.slow
@pytest.mark.parametrize('python', PYTHONS)
@pytest.mark.parametrize('platform', PLATFORMS)
@pytest.mark.parametrize('lists', ['highest', 'lowest-direct', 'pinned'])
def test_requirements_resolve(python, platform, lists, tmp_path):
    """There are wheels for every supported machine; none is installed."""
    pytest.importorskip('uv')
    names, options = LISTS[:5], ['--resolution', lists]
    if lists == 'pinned':
        names, options = ['pinned'], ['--no-deps']
    command = [sys.executable, '-m', 'uv', 'pip', 'compile', '--no-build']
    # Else it would fetch a Python of that version, which nothing here runs.
    command += ['--no-python-downloads', '--python', sys.executable]
    command += [*options, *(f'requirements/{name}.txt' for name in names)]
    command += ['--python-version', python, '--python-platform', platform]
    done = subprocess.run(
        [*command, '-o', str(tmp_path / 'lock')],
        capture_output=True,
        text=True,
        cwd=ROOT,  # where uv reads what pyproject.toml overrides
        # PyAV has wheels for macOS 14 and later.
        env=dict(os.environ, MACOSX_DEPLOYMENT_TARGET='14.0'),
    )
    if 'error sending request' in done.stderr:
        pytest.skip('no package registry answers')
    assert done.returncode == 0, done.stderr
    lock = dict(
        line.split('==')
        for line in (tmp_path / 'lock').read_text().splitlines()
        if '==' in line and not line.startswith(' ')
    )
    assert ('decord' in lock) == (platform == PLATFORMS[0])
    assert lock['opencv-python'] == lock['opencv-contrib-python']
