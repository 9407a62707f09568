# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Every block on our pages is run, or says what it needs and is checked.

A block without a marker is **run** in a small copy of a checkout.  One that
says ``<!-- needs: data -->`` (or docker, gpu, network, time) is **checked**:
its commands are read by the parsers of the tools they name, its Python is
compiled and its imports are done; nothing of it is run.
"""

import ast
import sys
from pathlib import Path

import pytest
from documented_code import (
    NEEDS,
    OTHER,
    PAGES,
    ROOT,
    SHELL,
    all_blocks,
    check_command,
    commands,
    find_blocks,
    inline_commands,
)
from mmengine.config import Config
from tool_runs import run_tool

BLOCKS = [block for block in all_blocks() if block.language not in OTHER]
RUN = [block for block in BLOCKS if not block.needs]
FILES = [block for block in BLOCKS if block.mark == 'file']


def name_of(block):
    return block.name


def run_shell(code):
    """Run each command; only our own tools are run."""
    for words in commands(code):
        check_command(words)
        program, tool, *arguments = words
        assert program == 'python', f'{program} is not run here: mark it'
        status = run_tool(tool.removeprefix('tools/'), *arguments)
        assert not status, f'{tool} ended with {status}'


def run_python(code, world):
    """Run code, or read it as the config that it is."""
    if code.startswith('_base_ ='):
        path = world / 'config_of_page.py'
        path.write_text(code)
        Config.fromfile(path)
    else:
        exec(compile(code, 'block', 'exec'), {})


def run_block(block, world):
    if block.language in SHELL:
        run_shell(block.code)
    else:
        run_python(block.code, world)


def check_python(code):
    """Compile code and do its imports."""
    imports = [
        node
        for node in ast.parse(code).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    exec(compile(ast.Module(imports, []), 'imports', 'exec'), {})


def check_block(block):
    if block.language in SHELL:
        for words in commands(block.code):
            check_command(words)
    else:
        check_python(block.code)


@pytest.fixture
def saved_files(world):
    """The files that a page tells the reader to save."""
    for block in FILES:
        (world / block.value).write_text(block.code)
    yield
    for block in FILES:
        sys.modules.pop(Path(block.value).stem, None)


@pytest.mark.parametrize('block', RUN, ids=name_of)
def test_block_runs(block, world, saved_files):
    run_block(block, world)


@pytest.mark.parametrize(
    'block', [block for block in BLOCKS if block.needs], ids=name_of
)
def test_block_that_needs_something_is_understood(block):
    check_block(block)


def test_commands_in_the_text_are_understood():
    found = inline_commands()
    assert len(found) > 10
    for page, words in found:
        # A bare name only points at the tool.
        if len(words) == 2:
            assert (ROOT / words[1]).exists(), page
        else:
            check_command(words)


def test_every_block_is_known():
    for block in BLOCKS:
        assert block.language in (*SHELL, 'python'), block.name
        assert block.mark in ('', 'file') or block.needs in NEEDS, block
    for page in PAGES:
        fences = page.read_text().count('```')
        assert fences == 2 * len(find_blocks(page.read_text(), page.name))
