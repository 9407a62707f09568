# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A recognizer with random weights, and a few toy clips with audio."""

from pathlib import Path

import torch
from mmengine.config import Config
from shrunk_models import without_init

from ca2st_mm import Recognizer
from ca2st_mm.apis.models import build_model
from ca2st_mm.datasets.toy import ToyWorld, write_toy_set

ROOT = Path(__file__).resolve().parent.parent


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
