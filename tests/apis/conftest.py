# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Small models as training leaves them, and clips for them."""

import shutil
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from tool_runs import (
    ca2st_config,
    run_tool,
    save,
    small_config,
    toy_config,
    verb_noun_config,
    write_data,
)
from toy_recognizer import write_noise

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
        ca2st=ca2st_config(toy),
        cast=toy_config(toy),
        verb_noun=verb_noun_config(toy),
        alone=small_config('videomae_toy', toy),
    )
    return {name: save(folder / name, cfg) for name, cfg in made.items()}


@pytest.fixture(scope='session')
def recognizers(saved):
    """The models, loaded from their checkpoints alone."""
    return {
        name: Recognizer.from_pretrained(checkpoint)
        for name, (_, checkpoint) in saved.items()
    }


@pytest.fixture
def recognizer(recognizers):
    """CA2ST: video and audio, two clips a file."""
    return recognizers['ca2st']


@pytest.fixture
def changed(saved):
    """Load CA2ST with a changed config."""

    def load(change):
        config, checkpoint = saved['ca2st']
        cfg = Config.fromfile(config)
        change(cfg)
        return Recognizer.from_config(cfg, checkpoint)

    return load


@pytest.fixture
def predict(saved, recognizers):
    """Run tools/predict.py with a model, loaded already; its exit status."""
    loaded = {saved[name][1]: recognizers[name] for name in saved}

    def run(*arguments, model='ca2st'):
        flags = ('--model', saved[model][1], '--device', 'cpu')
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                Recognizer, 'from_pretrained', lambda name, *_: loaded[name]
            )
            return run_tool('predict.py', *arguments, *flags)

    return run


@pytest.fixture(scope='session')
def clips(toy):
    """Clips with audio."""
    return sorted(map(str, (toy / 'videos').glob('test_*.mp4')))


@pytest.fixture
def clip(clips):
    """One of them."""
    return clips[0]


@pytest.fixture(scope='session')
def silent(tmp_path_factory):
    """Seven and a half seconds at 8 fps, without audio."""
    path = str(tmp_path_factory.mktemp('silent') / 'silent.mp4')
    write_noise(path, seconds=7.5)
    return path


@pytest.fixture(scope='session')
def broken(tmp_path_factory):
    """A file that is no video."""
    path = tmp_path_factory.mktemp('broken') / 'broken.mp4'
    path.write_bytes(b'no video' * 100)
    return str(path)


@pytest.fixture
def example(tmp_path, monkeypatch, saved, recognizer, clip):
    """What the examples of docstrings find: names, and files next to them."""
    shutil.copy(clip, tmp_path / 'clip.mp4')
    shutil.copy(saved['ca2st'][1], tmp_path / 'ca2st.pth')
    monkeypatch.chdir(tmp_path)
    return SimpleNamespace(recognizer=recognizer)
