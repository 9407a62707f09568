# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Models beyond the papers are built whole, and cost what the table says."""

import re

import pytest
from get_flops import count
from mmaction.registry import TRANSFORMS
from mmengine.config import Config
from test_configs import CONFIGS

PAGE = (CONFIGS.parent / 'docs/experts.md').read_text()
ROW = re.compile(
    r'\| \[`(?P<name>[\w-]+)`\]\(\.\./configs/beyond/(?P=name)\.py\) \|'
    r'[^|]*\| (?P<parameters>\d+) M \| (?P<trained>\d+) M \|'
    r' (?P<gmac>\d+) G \| not trained \|'
)
ROWS = {row['name']: row for row in ROW.finditer(PAGE)}
NAMES = sorted(path.stem for path in (CONFIGS / 'beyond').glob('*.py'))


def test_the_table_has_every_config():
    assert sorted(ROWS) == NAMES


@pytest.mark.parametrize(
    'name',
    [
        # Of 24 layers: seconds each.
        pytest.param(n, marks=[pytest.mark.slow] if 'vjepa2-l' in n else [])
        for n in NAMES
    ],
)
@pytest.mark.usefixtures('meta_device')
def test_the_model_is_built_and_costs_what_the_table_says(name):
    pytest.importorskip('timm')
    pytest.importorskip('transformers', minversion='5.23')
    config = Config.fromfile(CONFIGS / 'beyond' / f'{name}.py')
    for split in ('train', 'val', 'test'):
        for step in config[f'{split}_dataloader'].dataset.pipeline:
            TRANSFORMS.build(step)
    total = count(config)[-1]
    row = ROWS[name]
    assert round(total['parameters'] / 1e6) == int(row['parameters'])
    assert round(total['trainable'] / 1e6) == int(row['trained'])
    assert round(total['macs'] / 1e9) == int(row['gmac'])
