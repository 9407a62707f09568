# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Pages of the site that are files elsewhere in the repository.

README, CONTRIBUTING, CHANGELOG and the pages of the data sets stay where
GitHub shows them.  A page of the site that says ``<!-- page: ../FILE -->``
gets the text of that file, with its links turned to where they lead from
here.
"""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

ROOT = Path(__file__).resolve().parents[2]
# Pages that stand for a file or a folder of the repository.
SITE = {
    'README.md': 'docs/index.md',
    'CONTRIBUTING.md': 'docs/contributing.md',
    'CHANGELOG.md': 'docs/changelog.md',
}
DATA_SETS = PurePosixPath('tools/data')
PAGE = re.compile(r'^<!-- page: (\S+) -->\n', re.M)
LINK = re.compile(r'\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s]+)\)')


def site_path(path: str) -> str | None:
    """The page of the site for a path in the repository.

    Args:
        path: Relative to the root, such as ``tools/data/ucf101``.

    Returns:
        The page; the path itself for a file of another kind, which the site
        offers for download; None for what it cannot show.
    """
    if path in SITE:
        return SITE[path]
    pure = PurePosixPath(path)
    if pure.parent == DATA_SETS and (ROOT / path / 'README.md').exists():
        return f'docs/prepare_data.md#{anchor_of(ROOT / path / "README.md")}'
    shown = path.startswith('docs/') or not path.endswith('.md')
    return path if shown and not (ROOT / path).is_dir() else None


def anchor_of(page: Path) -> str:
    """The anchor of the first heading of a page, as GitHub makes it."""
    title = page.read_text().splitlines()[0].lstrip('# ').lower()
    return re.sub(r'[^\w\- ]', '', title).replace(' ', '-')


def turn_links(text: str, folder: str) -> str:
    """Links of a page as seen from ``docs/``.

    Args:
        text: The page, in Markdown.
        folder: Its folder, relative to the root; '' for the root itself.
    """

    def turn(match: re.Match) -> str:
        path, sign, anchor = match[2].partition('#')
        target = site_path(normpath(f'{folder}/{path}'.lstrip('/')))
        if target is None:
            return match[1]
        suffix = '' if '#' in target else sign + anchor
        return f'[{match[1]}]({relpath(target, "docs")}{suffix})'

    return LINK.sub(turn, text)


def read_page(path: str) -> str:
    """The text of a page of the repository for the site.

    Args:
        path: Relative to ``docs/``.
    """
    page = (ROOT / 'docs' / path).resolve()
    folder = page.parent.relative_to(ROOT).as_posix().replace('.', '', 1)
    text = turn_links(page.read_text(), folder)
    # Ten pages on one: their titles become sections.
    return re.sub(r'^#', '##', text, flags=re.M) if folder else text


def fill(app: object, name: str, source: list) -> None:
    """Put the named files into a page, and turn all links."""
    text = turn_links(source[0], 'docs')
    source[0] = PAGE.sub(lambda match: read_page(match[1]), text)


def setup(app: object) -> dict:
    """Register with Sphinx."""
    app.connect('source-read', fill)
    return dict(parallel_read_safe=True)
