# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The table of supported versions is that of the requirements."""

import re

from blocks import ROOT
from packaging.requirements import Requirement

REQUIREMENTS = ROOT / 'requirements'
PAGE = ROOT / 'docs/support.md'


def specifiers(*names):
    """The specifier of each package in some lists."""
    lines = [
        line.split('#')[0].strip()
        for name in names
        for line in (REQUIREMENTS / f'{name}.txt').read_text().splitlines()
    ]
    found = [Requirement(line) for line in lines if line]
    return {item.name: str(item.specifier) for item in found}


def rows():
    table = re.findall(
        r'^\| (\S+) \| `(\S+)` \| (\S+) \|$', PAGE.read_text(), re.M
    )
    assert len(table) > 5
    return table


def test_ranges_and_tested_versions_are_those_of_the_lists():
    ranges = specifiers('core', 'mminstall', 'optional')
    pinned = specifiers('pinned')
    for name, range_, tested in rows():
        if name == 'Python':
            setup = (ROOT / 'setup.cfg').read_text()
            assert f'python_requires = {range_}' in setup
            first = (REQUIREMENTS / 'pinned.txt').read_text().split('\n\n')[0]
            assert f'Python {tested}' in first
        else:
            assert set(ranges[name].split(',')) == set(range_.split(','))
            assert pinned[name] == f'=={tested}'
