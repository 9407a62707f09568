# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The blocks of code on our pages, and whether a command is understood.

Commands are checked, not run: our tools are started up to the point where
their own parser has read the flags; of other programs only what is in the
repository is looked at.
"""

import argparse
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from ca2st_mm import zoo

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
    r'^(?:<!-- (?P<mark>[^\n:]*):? ?(?P<value>[^\n]*) -->\n)?'
    r'```(?P<language>[^\n]*)\n(?P<code>.*?)^```$',
    re.M | re.S,
)


class Block(NamedTuple):
    """A fenced block, with what a comment in the line before says of it."""

    name: str  # page and line
    language: str
    mark: str  # 'needs', 'file' (the reader saves it as that) or ''
    value: str
    code: str

    @property
    def needs(self) -> str:
        return self.value if self.mark == 'needs' else ''


def find_blocks(text: str, page: str) -> list[Block]:
    return [
        Block(
            f'{page}:{text[: match.start("language")].count(chr(10)) + 1}',
            match['language'].strip(),
            match['mark'] or '',
            match['value'] or '',
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


MAKEFILE = (ROOT / 'Makefile').read_text()
# Programs of others; that their flags are right is not checked.
OTHERS = ('curl', 'jupyter', 'mkdir', 'printf', 'source', 'tensorboard', 'uv')


class Understood(Exception):
    """The parser has read the flags."""


def check_command(words: list[str]) -> None:
    """Raise AssertionError if a command cannot be understood."""
    program, *arguments = words
    program = program.removeprefix('.venv/bin/')
    for word in words:
        if word.startswith(('configs/', 'tools/', 'requirements/', 'docker/')):
            assert (ROOT / word).exists(), f'there is no {word}'
    if words[1:3] == ['tools/weights.py', 'get'] and words[3:] != ['NAME']:
        assert all(zoo.find(name) for name in words[3:])
    if program in CHECKS:
        CHECKS[program](arguments)
    elif program in SUBCOMMANDS:
        assert arguments[0] in SUBCOMMANDS[program]
    else:
        assert program in OTHERS, f'unknown program {program}'


def check_python(arguments: list[str]) -> None:
    first, *rest = arguments
    if first == '-c':
        compile(rest[0], 'python -c', 'exec')
    else:
        assert first.endswith('.py'), f'{first} is no tool'
        check_tool(ROOT / first, rest)


def check_tool(path: Path, arguments: list[str]) -> None:
    assert path.exists(), f'there is no {path}'
    if 'argparse' not in path.read_text() and path.name != 'prepare.py':
        assert not arguments, f'{path.name} takes no flags'
        return
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, args=None, namespace=None):
        parse(self, args, namespace)
        raise Understood

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, 'parse_args', parse_and_stop)
        patch.setattr(sys, 'argv', [path.name, *arguments])
        patch.setattr(sys, 'path', [str(path.parent), *sys.path])
        try:
            runpy.run_path(str(path), run_name='__main__')
        except Understood:
            return
        except SystemExit:
            pass
    raise AssertionError(f'{path.name} does not understand {arguments}')


def check_ca2st(arguments: list[str]) -> None:
    commands = runpy.run_path(str(ROOT / 'tools/ca2st'))['find_commands'](
        ROOT / 'tools'
    )
    for depth in (3, 2, 1):
        if path := commands.get(tuple(arguments[:depth])):
            return check_tool(path, arguments[depth:])
    assert arguments == ['--help'], f'ca2st has no command {arguments}'


def check_bash(arguments: list[str]) -> None:
    script, config, _gpus, *flags = arguments
    assert (ROOT / script).exists(), f'there is no {script}'
    tool = 'test.py' if 'test' in script else 'train.py'
    check_tool(ROOT / 'tools' / tool, [config, *flags])


def check_make(arguments: list[str]) -> None:
    for target in arguments:
        if '=' not in target:
            assert f'\n{target}:' in MAKEFILE, f'no target {target}'


CHECKS = dict(
    bash=check_bash, ca2st=check_ca2st, make=check_make, python=check_python
)
SUBCOMMANDS = dict(pip=('install', 'uninstall'), docker=('build', 'run'))
