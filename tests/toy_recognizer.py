# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A recognizer with random weights, and small clips."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from shrunk_models import without_init

from ca2st_mm import Recognizer
from ca2st_mm.apis.models import build_model
from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.datasets.toy import ToyWorld, write_toy_set

ROOT = Path(__file__).resolve().parent.parent
FPS, SIZE = 8, 32


def write_clips(folder, count):
    """Toy clips below ``videos``, and ``test.csv`` that lists them."""
    write_toy_set(str(folder), dict(test=count), world=ToyWorld(size=32))
    return sorted((folder / 'videos').glob('*.mp4'))


def make_recognizer(folder, name='ca2st_toy', dataset=None, **model):
    """A toy model; every weight is noise, so that every part counts."""
    config = Config.fromfile(ROOT / 'configs' / 'toy' / f'{name}.py')
    config.model = without_init(config.model.to_dict())
    config.merge_from_dict(dict(model=model))
    config.test_dataloader.dataset.update(data_root=str(folder))
    config.test_dataloader.dataset.update(dataset or {})
    network = build_model(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    weights = Path(folder) / f'{name}.pth'
    torch.save(dict(state_dict=network.state_dict()), weights)
    return Recognizer.from_config(config, weights)


def noise(seconds):
    """Frames that differ, (n, 32, 32, 3), made of blocks of 8 x 8."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (round(seconds * FPS), 4, 4, 3), np.uint8)
    return blocks.repeat(SIZE // 4, axis=1).repeat(SIZE // 4, axis=2)


def write_noise(path, seconds, rate=None):
    """A clip of :func:`noise`; with audio if it has a sample rate."""
    audio = None
    if rate is not None:
        rng = np.random.default_rng(0)
        audio = 0.1 * rng.standard_normal(round(seconds * rate))
    write_clip(str(path), noise(seconds), FPS, audio, rate or 16000)
