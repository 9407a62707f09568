# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Documentation and Dockerfiles agree with the lists of requirements."""

import re
import shlex

import pytest
from blocks import ROOT
from packaging.requirements import Requirement

REQUIREMENTS = ROOT / 'requirements'
PINNED = (REQUIREMENTS / 'pinned.txt').read_text()
PYTHON = re.search(r'Python (\d+\.\d+)', PINNED)[1]
DOCKERFILES = sorted((ROOT / 'docker').glob('Dockerfile*'))


def specifiers(*names):
    """The specifier of each package in some lists."""
    lines = [
        line.split('#')[0].strip()
        for name in names
        for line in (REQUIREMENTS / f'{name}.txt').read_text().splitlines()
    ]
    found = [Requirement(line) for line in lines if line]
    return {item.name: str(item.specifier) for item in found}


def test_table_of_supported_versions():
    ranges = specifiers('core', 'mminstall', 'optional')
    ranges['Python'] = re.search(
        r'python_requires = (\S+)', (ROOT / 'setup.cfg').read_text()
    )[1]
    tested = dict(specifiers('pinned'), Python=f'=={PYTHON}')
    page = (ROOT / 'docs/support.md').read_text()
    rows = re.findall(r'^\| (\S+) \| `(\S+)` \| (\S+) \|$', page, re.M)
    assert len(rows) > 5
    for name, required, version in rows:
        assert set(ranges[name].split(',')) == set(required.split(','))
        assert tested[name] == f'=={version}'


@pytest.mark.parametrize('path', DOCKERFILES, ids=lambda path: path.name)
def test_dockerfile_installs_the_pinned_set(path):
    text = path.read_text().replace('\\\n', ' ')
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line]
    [image] = [rest for name, rest in steps if name == 'FROM']
    assert image.startswith(f'python:{PYTHON}-')
    ignored = (ROOT / '.dockerignore').read_text().split()
    for name, rest in steps:
        if name == 'COPY':
            for source in shlex.split(rest)[:-1]:
                assert (ROOT / source).exists() and source not in ignored
    commands = ' && '.join(rest for name, rest in steps if name == 'RUN')
    installs = re.findall(r'pip install ([^&]+)', commands)
    assert any('-r requirements/pinned.txt' in rest for rest in installs)
    # Nothing but pinned lists and this package itself.
    for rest in installs:
        assert '-r ' in rest or rest.split()[-2:] == ['-e', '.']
        assert '-e' not in rest or '--no-deps' in rest
