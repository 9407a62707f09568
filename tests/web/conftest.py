# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A page with a small model, served to this machine."""

import tempfile

import pytest
from toy_recognizer import make_recognizer, write_clips, write_noise


@pytest.fixture(scope='session')
def media(tmp_path_factory):
    """Clips by what is special about them, and their folder."""
    folder = tmp_path_factory.mktemp('media')
    [short, *_] = map(str, write_clips(folder, 2))
    write_noise(folder / 'long.mkv', 5, rate=16000)
    write_noise(folder / 'silent.mp4', 3)
    return dict(
        folder=folder,
        short=short,
        long=str(folder / 'long.mkv'),
        silent=str(folder / 'silent.mp4'),
    )


@pytest.fixture(scope='session')
def recognizer(media):
    """CA2ST of the toy; its config refuses clips without audio."""
    return make_recognizer(media['folder'])


@pytest.fixture(scope='session')
def answers(recognizer):
    """The answers of the page."""
    from ca2st_mm.web.answers import Answers

    return Answers(recognizer, max_seconds=20)


@pytest.fixture(scope='session')
def address(answers, media):
    """Where the page is served, with one example."""
    from page_server import MAX_BYTES, served

    from ca2st_mm.web.server import Page, make_app

    page = Page('toy', MAX_BYTES, [media['folder'] / 'long.mkv'])
    app = make_app(answers, page, '127.0.0.1')
    with served(app) as url:
        yield url


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary files are made during a test."""
    folder = tmp_path / 'temporary'
    folder.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(folder))
    return folder
