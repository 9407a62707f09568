# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Whether a command of a page would be understood: checked, not run.

Our tools are started up to the point where their own parser has read the
flags; of other programs only what is in the repository is looked at.
"""

import argparse
import runpy
import sys
from pathlib import Path

import pytest
from blocks import ROOT

from ca2st_mm import zoo

MAKEFILE = (ROOT / 'Makefile').read_text()
# Programs of others; that their flags are right is not checked.
OTHERS = ('jupyter', 'source', 'tensorboard')


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


def check_bash(arguments: list[str]) -> None:
    script, config, _gpus, *flags = arguments
    assert (ROOT / script).exists(), f'there is no {script}'
    tool = 'test.py' if 'test' in script else 'train.py'
    check_tool(ROOT / 'tools' / tool, [config, *flags])


def check_make(arguments: list[str]) -> None:
    for target in arguments:
        if '=' not in target:
            assert f'\n{target}:' in MAKEFILE, f'no target {target}'


def check_pip(arguments: list[str]) -> None:
    assert arguments[0] in ('install', 'uninstall')


def check_docker(arguments: list[str]) -> None:
    assert arguments[0] in ('build', 'run')


CHECKS = dict(
    bash=check_bash,
    docker=check_docker,
    make=check_make,
    pip=check_pip,
    python=check_python,
)
