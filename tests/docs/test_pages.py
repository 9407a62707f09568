# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Links lead somewhere, nothing is left out, versions are those required."""

import importlib
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from documented_code import FENCE, PAGES, ROOT
from mmaction import registry
from packaging.requirements import Requirement

from ca2st_mm import compat

DOCS = ROOT / 'docs'
LINK = re.compile(r'\]\((?!https?:|mailto:)([^)\s]+)\)')
REQUIREMENTS = ROOT / 'requirements'
PYTHON = '3.11'


def anchors(text):
    """The anchors of the headings of a page, as GitHub makes them."""
    titles = re.findall(r'^#+ (.*)$', FENCE.sub('', text), re.M)
    plain = [re.sub(r'[^\w\- ]', '', title.lower()) for title in titles]
    return {title.replace(' ', '-') for title in plain}


def broken_links(page):
    text = FENCE.sub('', page.read_text())
    for link in LINK.findall(text):
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            yield link
        elif anchor and anchor not in anchors(target.read_text()):
            yield link


@pytest.mark.parametrize('page', PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert list(broken_links(page)) == []


def test_every_page_is_in_the_contents_once():
    index = (DOCS / 'index.md').read_text()
    trees = re.findall(r'```\{toctree\}\n(.*?)```', index, re.S)
    named = [
        line
        for tree in trees
        for line in tree.splitlines()
        if line and not line.startswith(':')
    ]
    pages = {page.stem for page in DOCS.glob('*.md')} - {'index'}
    assert sorted(named) == sorted(pages)


def test_every_data_set_is_on_its_page():
    text = (DOCS / 'prepare_data.md').read_text()
    for page in (ROOT / 'tools/data').glob('*/README.md'):
        assert f'<!-- page: ../{page.relative_to(ROOT)} -->' in text


def registered():
    """Names of all our classes in MMAction2's registries."""
    for name in dir(registry):
        table = getattr(getattr(registry, name), '_module_dict', {})
        for part in table.values():
            ours = part.__module__.startswith('ca2st_mm.')
            if ours and isinstance(part, type):
                yield part.__name__


def test_every_registered_part_is_in_the_reference():
    text = (DOCS / 'api.md').read_text()
    named = set()
    for path in re.findall(r'automodule:: (\S+)', text):
        named |= set(importlib.import_module(path).__all__)
    expected = set(registered())
    assert len(expected) > 40
    assert expected - named == set()


def test_every_fix_of_an_upstream_fault_is_documented():
    text = (DOCS / 'mmaction2_today.md').read_text()
    fixes = compat.FIXES
    missing = [fix.__name__ for fix in fixes if fix.__name__ not in text]
    assert missing == []


# -- the site -------------------------------------------------------------


@pytest.mark.skipif(
    find_spec('sphinx') is None or find_spec('myst_parser') is None,
    reason='Sphinx is not installed; `make docs` installs it and builds',
)
def test_site_builds_without_warnings(tmp_path):
    flags = ('-W', '-q', '-b', 'html', '-d', tmp_path / 'trees')
    command = [sys.executable, '-m', 'sphinx', *flags]
    done = subprocess.run(
        [*command, ROOT / 'docs', tmp_path / 'site'],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    front = (tmp_path / 'site/index.html').read_text()
    assert 'Cross-Attention in Audio, Space' in front


# -- versions -------------------------------------------------------------


def specifiers(*names):
    """The specifier of each package in some lists, for the tested Python."""
    lines = [
        line.split('#')[0].strip()
        for name in names
        for line in (REQUIREMENTS / f'{name}.txt').read_text().splitlines()
    ]
    found = [Requirement(line) for line in lines if line]
    here = dict(python_version=PYTHON, python_full_version=f'{PYTHON}.9')
    return {
        item.name: str(item.specifier)
        for item in found
        if item.marker is None or item.marker.evaluate(here)
    }


def test_table_of_supported_versions():
    ranges = specifiers('core', 'optional', 'experts')
    tested = specifiers('pinned')
    page = (ROOT / 'docs/support.md').read_text()
    rows = re.findall(r'^\| (\S+) \| `(\S+)` \| (\S+) \|$', page, re.M)
    assert len(rows) > 5
    for name, required, version in rows:
        assert set(ranges[name].split(',')) == set(required.split(','))
        assert tested[name] == f'=={version}'
