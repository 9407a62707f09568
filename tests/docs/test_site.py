# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The site shows the pages of the repository with links that work there."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
from blocks import ROOT

EXTENSION = ROOT / 'docs' / '_ext'


@pytest.fixture(scope='module')
def pages():
    """The extension of the site, which needs no Sphinx to be imported."""
    sys.path.insert(0, str(EXTENSION))
    import repository_pages

    yield repository_pages
    sys.path.remove(str(EXTENSION))


@pytest.mark.parametrize(
    ('link', 'turned'),
    [
        ('[a](docs/training.md#resuming)', '[a](training.md#resuming)'),
        ('[a](CONTRIBUTING.md)', '[a](contributing.md)'),
        ('[a](README.md#limits)', '[a](index.md#limits)'),
        ('[a](LICENSE)', '[a](../LICENSE)'),
        (
            '[`a`](tools/data/kinetics400)',
            '[`a`](prepare_data.md#kinetics-400)',
        ),
        ('[a](configs/ablations)', 'a'),
        ('[a](https://a.org/b)', '[a](https://a.org/b)'),
        ('![a](docs/figures/idea.png)', '![a](figures/idea.png)'),
    ],
)
def test_links_of_the_readme_are_turned(pages, link, turned):
    assert pages.turn_links(link, '') == turned


def test_pages_of_data_sets_become_sections(pages):
    text = pages.read_page('../tools/data/ucf101/README.md')
    assert text.startswith('## ')
    assert '\n# ' not in text


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
