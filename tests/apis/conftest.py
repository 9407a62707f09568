# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Small models as training leaves them, and clips for them."""

import pytest
import recognizer_files as files
from tool_runs import verb_noun_config, write_data

from ca2st_mm import Recognizer


@pytest.fixture(scope='session')
def toy(tmp_path_factory):
    """A folder with toy clips of 32 x 32 and their lists."""
    folder = tmp_path_factory.mktemp('toy')
    write_data(folder)
    return folder


@pytest.fixture(scope='session')
def saved(toy, tmp_path_factory):
    """Config file and checkpoint by model."""
    folder = tmp_path_factory.mktemp('saved')
    made = dict(
        ca2st=files.ca2st_config(toy),
        cast=files.cast_config(toy),
        verb_noun=verb_noun_config(toy),
    )
    return {name: files.save(folder / name, cfg) for name, cfg in made.items()}


@pytest.fixture(scope='session')
def recognizers(saved):
    """The models, loaded from their checkpoints alone."""
    return {
        name: Recognizer.from_pretrained(checkpoint)
        for name, (_, checkpoint) in saved.items()
    }


@pytest.fixture
def recognizer(recognizers):
    """The one that looks and listens, two clips a video."""
    return recognizers['ca2st']


@pytest.fixture
def clip(toy):
    """A clip with sound."""
    return str(sorted((toy / 'videos').glob('test_*.mp4'))[0])


@pytest.fixture(scope='session')
def silent(tmp_path_factory):
    """Seven and a half seconds at 8 fps, without sound."""
    path = str(tmp_path_factory.mktemp('silent') / 'silent.mp4')
    files.write_noise(path, seconds=7.5)
    return path


@pytest.fixture(scope='session')
def broken(tmp_path_factory):
    """A file that is no video."""
    path = tmp_path_factory.mktemp('broken') / 'broken.mp4'
    path.write_bytes(b'no video' * 100)
    return str(path)
