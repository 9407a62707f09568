# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The rows of the papers' tables: sizes, published numbers, gradients."""

import copy

import paper
import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from paper_toy import toy_model
from test_configs import CONFIGS, assert_few_files, random_batch

ROWS = paper.read_rows()
NAMES = sorted({n for row in ROWS for n in row['config'].split(' + ') if n})
FILES = sorted(
    str(path.relative_to(CONFIGS / 'ablations').with_suffix(''))
    for path in (CONFIGS / 'ablations').glob('[!_]*/*.py')
)
# Trained parameters in millions: CAST, Table 1, and what follows from the
# shapes of the authors' code (`reference/numbers.md`, `reference/facts.md`).
TRAINED = {
    't1/b_cast': 44.8,
    't1/identity': 18.1,
    't1/cross_attention': 85.9,
    't1/cross_attention_adapter': 93.0,
    't1/independent_adapters': 14.5,
    't1/independent_full': 172.3,
    't1/ratio_8': 19.4,
    't1/ratio_4': 26.1,
    't1/ratio_1': 103.3,
    'ca2st/all_layers': 89.2,
    'ca2st/all_links_10_12': 39.8,
    'ca2st/own_bottlenecks': 67.9,
}


def load(name):
    return Config.fromfile(CONFIGS / 'ablations' / f'{name}.py')


def test_every_config_is_a_row_and_every_row_has_a_config():
    others = [name for name in NAMES if name.startswith('..')]
    assert FILES == [name for name in NAMES if name not in others]
    for name in others:
        assert (CONFIGS / 'ablations' / f'{name}.py').exists()
    for row in ROWS:
        if row['config'] and row['trained_m']:
            assert TRAINED[row['config']] == float(row['trained_m'])


@pytest.mark.parametrize('name', FILES)
def test_a_row_is_at_most_seven_files_four_deep(name):
    assert_few_files(f'ablations/{name}', 7, 4)


@pytest.mark.parametrize(
    'name',
    [
        name if name in TRAINED else pytest.param(name, marks=pytest.mark.slow)
        for name in FILES
    ],
)
def test_a_row_builds_at_its_size(name, meta_device):
    model = load(name).model.to_dict()
    del model['data_preprocessor']
    with meta_device:
        full = MODELS.build(model)
    trained = sum(p.numel() for p in full.parameters() if p.requires_grad)
    if name in TRAINED:
        assert trained / 1e6 == pytest.approx(TRAINED[name], abs=0.06)


@pytest.mark.parametrize('name', FILES)
def test_a_row_learns_in_the_toy_world(name):
    cfg = load(name)
    if name.startswith('t1/'):  # the recipe of the ablations
        wrapper = cfg.optim_wrapper
        clips = cfg.train_dataloader.sampler.clips_per_step
        assert (wrapper.accumulative_counts, clips) == (2, 12)
        assert wrapper.paramwise_cfg.layer_decay == 0.8
    if name.split('/')[0] in paper.WITHOUT_TOY:
        return
    small = toy_model(cfg.model.to_dict())
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(small))
    data = model.data_preprocessor(random_batch(small, 1), training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    parameters = list(model.parameters())
    assert all((p.grad is not None) == p.requires_grad for p in parameters)
    assert torch.isfinite(loss)
