# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""House rules that no other tool checks."""

import doctest
import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEADER = '# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.'
PACKAGE = sorted((ROOT / 'ca2st_mm').rglob('*.py'))
# tests/apis run the examples that need a recognizer or a clip.
WITH_EXAMPLES = [
    path
    for path in PACKAGE
    if '>>> ' in (text := path.read_text())
    and not re.search(r'>>> .*\b(recognizer\b|clip\.mp4)', text)
]


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def test_every_file_starts_with_the_licence_header():
    sources = [
        path
        for folder in ('ca2st_mm', 'configs', 'tests', 'tools')
        for kind in ('*.py', '*.sh')
        for path in (ROOT / folder).rglob(kind)
        if '.mim' not in path.parts
    ]
    assert len(sources) > 100
    without = [
        name_of(path)
        for path in sources
        if HEADER not in path.read_text().splitlines()[:2]
    ]
    assert without == []


def test_names_of_test_files_are_unique():
    """There are no packages of tests: pytest would mix two of one name."""
    names = Counter(path.name for path in (ROOT / 'tests').rglob('test_*.py'))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize('path', WITH_EXAMPLES, ids=name_of)
def test_examples_of_docstrings_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = path.relative_to(ROOT).with_suffix('').parts
    if parts[-1] == '__init__':
        parts = parts[:-1]
    module = importlib.import_module('.'.join(parts))
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(module, optionflags=flags).failed == 0
