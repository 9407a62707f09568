# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Links lead somewhere, and no page or part is left out of the site."""

import importlib
import re

import pytest
from blocks import FENCE, PAGES, ROOT
from mmaction import registry

from ca2st_mm import compat

DOCS = ROOT / 'docs'
LINK = re.compile(r'\]\((?!https?:|mailto:)([^)\s]+)\)')
COMMENT = re.compile(r'<!--.*?-->', re.S)


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


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('# A title\n\n[a](#a-title) [b](none.md) [c](#none)\n')
    assert list(broken_links(page)) == ['none.md', '#none']


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


def test_every_fix_of_an_upstream_fault_is_among_the_questions():
    text = (DOCS / 'faq.md').read_text()
    fixes = compat.FIXES
    missing = [fix.__name__ for fix in fixes if fix.__name__ not in text]
    assert missing == []
