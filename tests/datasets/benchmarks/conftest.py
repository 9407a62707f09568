# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Folders in which tests prepare benchmarks."""

from contextlib import redirect_stdout
from io import StringIO

import pytest
from benchmark_annotations import write_annotations
from benchmark_files import arguments, text_of
from media import write_world

from ca2st_mm.datasets.benchmarks import BENCHMARKS


@pytest.fixture
def data(tmp_path):
    """Prepare a benchmark in a folder of its own."""

    class Data:
        root = tmp_path / 'data'
        videos = root / 'videos'
        audio = root / 'audio'
        lists = root / 'annotations'

        def __init__(self):
            for folder in (self.videos, self.audio, self.lists):
                folder.mkdir(parents=True)

        def add(self, *names):
            for name in names:
                path = self.root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()

        def add_list(self, key):
            (self.lists / key[2]).write_text(text_of(key))

        def prepare(self, name, **flags):
            folders = dict(
                annotations=str(self.lists),
                videos=str(self.videos),
                out=str(self.root),
            )
            with redirect_stdout(StringIO()) as said:
                args = arguments(name, **folders, **flags)
                write_annotations(BENCHMARKS[name], args)
            return said.getvalue()

    return Data()


@pytest.fixture(scope='session')
def world(tmp_path_factory):
    """A folder whose ``data/`` holds ten small benchmarks."""
    root = tmp_path_factory.mktemp('world')
    write_world(root)
    return root


@pytest.fixture
def inside(world, monkeypatch):
    """Run in that folder."""
    monkeypatch.chdir(world)
