# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Rules of the project that no other tool checks."""

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest

from ca2st_mm.datasets.media_writer import write_clip

ROOT = Path(__file__).resolve().parent.parent
HEADER = '# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.'
PACKAGE = sorted((ROOT / 'ca2st_mm').rglob('*.py'))
# The examples of `apis` need a recognizer: tests/apis run them.
WITH_EXAMPLES = [
    path
    for path in PACKAGE
    if '>>> ' in path.read_text() and path.parent.name != 'apis'
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


@pytest.fixture(scope='module')
def folder_with_a_clip(tmp_path_factory):
    """Where `clip.mp4` of the examples is."""
    folder = tmp_path_factory.mktemp('examples')
    frames = np.zeros((16, 240, 320, 3), np.uint8)
    silence = np.zeros(32000, np.float32)
    write_clip(str(folder / 'clip.mp4'), frames, 8, silence, 16000)
    return folder


@pytest.mark.parametrize('path', WITH_EXAMPLES, ids=name_of)
def test_examples_of_docstrings_run(path, folder_with_a_clip, monkeypatch):
    if path.stem == 'hf_expert':  # older ones are all that Python 3.10 has
        pytest.importorskip('transformers', minversion='5.23')
    monkeypatch.chdir(folder_with_a_clip)
    parts = path.relative_to(ROOT).with_suffix('').parts
    if parts[-1] == '__init__':
        parts = parts[:-1]
    module = importlib.import_module('.'.join(parts))
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(module, optionflags=flags).failed == 0
