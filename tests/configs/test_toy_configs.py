# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Every config of the toy world trains and judges as it stands."""

import pytest
import tiny_models as tiny
from mmengine.config import Config
from mmengine.runner import Runner
from shrunk_models import without_init
from test_configs import CONFIGS, NAMES

from ca2st_mm.datasets.toy_files import write_toy_set

TOYS = [name for name in NAMES if name.startswith('toy/')]
CLIPS = 8


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('toy')
    write_toy_set(str(folder), dict(train=CLIPS, val=CLIPS, test=CLIPS))
    return folder


@pytest.mark.parametrize('name', TOYS)
def test_two_iterations_and_an_evaluation(name, data, tmp_path):
    tiny.quiet()
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    # Experts that are trained elsewhere start at random here.
    cfg.model = without_init(cfg.model.to_dict())
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(
            batch_size=CLIPS // 2, num_workers=0, persistent_workers=False
        )
        loader.dataset.data_root = str(data)
    cfg.train_cfg.update(max_epochs=1, val_begin=1)
    cfg.update(work_dir=str(tmp_path), log_level='ERROR')
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2
    loss = runner.message_hub.get_scalar('train/loss').current()
    assert 0 < loss < float('inf')
    # Its schedule stands in epochs and moves in every step.
    rates = runner.message_hub.get_scalar('train/lr').data[0]
    assert rates[0] < rates[1]
    # Every clip was judged: the share is so many eighths.
    hits = CLIPS * runner.test()['acc/top1']
    assert hits == pytest.approx(round(hits)) and 0 <= hits <= CLIPS
