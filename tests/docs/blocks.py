# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The blocks of code on our pages, and what stands right before them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    ROOT / 'README.md',
    ROOT / 'CONTRIBUTING.md',
    *sorted((ROOT / 'docs').glob('*.md')),
    *sorted((ROOT / 'tools/data').glob('*/README.md')),
)
# What a block may say it needs in place of being run here.
NEEDS = ('data', 'docker', 'gpu', 'network', 'time')
SHELL = ('shell', 'bash')
# No code of ours: a listing, a citation, a directive of Sphinx.
OTHER = ('text', 'bibtex', '{toctree}', '{eval-rst}')
FENCE = re.compile(
    r'^(?:<!-- (?P<marker>[^\n]*) -->\n)?'
    r'```(?P<language>[^\n]*)\n(?P<code>.*?)^```$',
    re.M | re.S,
)


class Block(NamedTuple):
    """A fenced block.

    ``marker`` is the comment in the line before it, or ''.
    """

    page: str
    line: int
    language: str
    marker: str
    code: str

    @property
    def name(self) -> str:
        return f'{self.page}:{self.line}'

    @property
    def needs(self) -> str:
        """What it says it needs, or ''."""
        word, _, what = self.marker.partition(': ')
        return what if word == 'needs' else ''

    @property
    def file(self) -> str:
        """The file that the page tells the reader to save it as, or ''."""
        word, _, path = self.marker.partition(': ')
        return path if word == 'file' else ''


def find_blocks(text: str, page: str) -> list[Block]:
    return [
        Block(
            page,
            text[: match.start('language')].count('\n') + 1,
            match['language'].strip(),
            match['marker'] or '',
            match['code'],
        )
        for match in FENCE.finditer(text)
    ]


def all_blocks() -> list[Block]:
    return [
        block
        for page in PAGES
        for block in find_blocks(
            page.read_text(), page.relative_to(ROOT).as_posix()
        )
    ]


def commands(code: str) -> list[list[str]]:
    """The words of each command of a shell block; comments are left out."""
    lines = code.replace('\\\n', ' ').splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    return [words for words in found if words]


def inline_commands() -> list[tuple[str, list[str]]]:
    """Commands of our tools inside a text: (page, words)."""
    found = []
    for page in PAGES:
        text = FENCE.sub('', page.read_text())
        for span in re.findall(r'`(python tools/[^`]+\.py[^`]*)`', text):
            command, _, _written = span.partition(' > ')
            found.append((page.name, shlex.split(command)))
    return found
