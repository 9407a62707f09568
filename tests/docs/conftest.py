# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A small world in which the blocks of the pages run."""

import shutil
import zlib
from collections import OrderedDict

import numpy as np
import pytest
import soundfile
import torch
from documented_code import ROOT
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from shrunk_models import without_init

from ca2st_mm.apis.models import build_model
from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.datasets.toy import class_names, write_toy_set

SEEN = ('configs', 'docs', 'requirements', 'tools')
CLIPS = ('a.mp4', 'b.mp4', 'clip.mp4', 'video.mp4')
RATE = 16000


def write_noise(path, seconds, fps=8):
    """A clip of noise, another one for each path, with a tone."""
    rng = np.random.default_rng(zlib.crc32(str(path).encode()))
    frames = rng.integers(0, 255, (seconds * fps, 64, 64, 3), np.uint8)
    clock = np.arange(seconds * RATE) / RATE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(str(path), frames, fps, 0.1 * np.sin(2765 * clock), RATE)


def write_checkpoint(path):
    """The toy's CA2ST as `make demo` leaves it, but with random weights."""
    cfg = Config.fromfile(ROOT / 'configs/toy/ca2st_toy.py')
    cfg = Config(without_init(cfg.to_dict()))
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=class_names()))
    torch.manual_seed(0)
    path.parent.mkdir(parents=True)
    state = build_model(cfg).state_dict()
    torch.save(dict(meta=meta, state_dict=state), path)


@pytest.fixture(scope='session')
def template(tmp_path_factory):
    """A checkout after `make demo`, with a few files of a user in it."""
    folder = tmp_path_factory.mktemp('world') / 'checkout'
    folder.mkdir()
    for name in SEEN:
        (folder / name).symlink_to(ROOT / name)
    write_toy_set(str(folder / 'data/toy'), dict(train=12, test=12))
    write_checkpoint(folder / 'work_dirs/toy/ca2st_toy/epoch_12.pth')
    for name in CLIPS:
        write_noise(folder / name, seconds=2)
    write_noise(folder / 'long.mp4', seconds=10)
    for name in ('falling', 'waving'):
        for number in range(5):
            write_noise(folder / f'data/mine/{name}/{number}.mp4', seconds=1)
    soundfile.write(folder / 'audio.wav', np.zeros(2 * RATE), RATE)
    return folder


@pytest.fixture
def fresh_scope(monkeypatch):
    """No default scope, as where Python has just been started."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())


@pytest.fixture
def world(template, tmp_path, monkeypatch, fresh_scope):
    """A copy of it, where a block may write; the working folder."""
    folder = tmp_path / 'checkout'
    shutil.copytree(template, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    registered = dict(MODELS._module_dict)
    yield folder
    # A block may register a class of its own.
    MODELS._module_dict.clear()
    MODELS._module_dict.update(registered)
