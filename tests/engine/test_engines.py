# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""MMEngine's strategies: example configs, and the runner that takes them."""

from functools import partial

import pytest
import tiny_models as tiny
from mmengine.config import Config
from mmengine.registry import FUNCTIONS, MODEL_WRAPPERS, STRATEGIES
from runs import CONFIGS
from torch.distributed.fsdp.wrap import _recursive_wrap

from ca2st_mm.models.layers.transformer import AttentionBlock

STRATEGY_FILES = sorted((CONFIGS / '_base_/strategies').glob('*.py'))


@pytest.mark.parametrize('path', STRATEGY_FILES, ids=lambda path: path.stem)
def test_a_strategy_joins_any_recipe(path, tmp_path):
    config = tmp_path / 'config.py'
    recipe_file = CONFIGS / 'ca2st/ca2st_k400.py'
    config.write_text(f'_base_ = [{str(recipe_file)!r}, {str(path)!r}]\n')
    cfg = Config.fromfile(config)
    assert cfg.runner_type == 'FlexibleRunner'
    assert STRATEGIES.get(cfg.strategy.type) is not None
    if wrapper := cfg.strategy.get('model_wrapper'):
        assert MODEL_WRAPPERS.get(wrapper.type) is not None
        assert FUNCTIONS.get(wrapper.auto_wrap_policy) is not None


@pytest.mark.parametrize('frozen', [True, False])
def test_blocks_that_are_trained_as_a_whole_are_units_of_fsdp(frozen):
    """Adapters between frozen weights are too small for transfers."""
    model = tiny.build(tiny.CA2ST)
    for parameter in model.experts.parameters():
        parameter.requires_grad_(not frozen)
    units = []

    class Unit:
        def __new__(cls, module, **kwargs):
            units.append(module)
            return module

    policy = partial(FUNCTIONS.get('wrap_blocks'), min_params=1000)
    ignored = {p for p in model.parameters() if not p.requires_grad}
    _recursive_wrap(model, policy, Unit, set(), ignored)
    blocks = 0 if frozen else 2 * tiny.DEPTH * len(model.experts)
    assert len(units) == blocks
    assert sum(isinstance(u, AttentionBlock) for u in units) * 2 == blocks
