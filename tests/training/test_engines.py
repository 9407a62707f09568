# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""MMEngine's strategies: example configs, and the runner that takes them."""

import argparse
import importlib.util
from pathlib import Path

import pytest
import tiny_models as tiny
from mmengine.config import Config
from mmengine.registry import FUNCTIONS, MODEL_WRAPPERS, STRATEGIES
from runs import CONFIGS, Clips, Losses, loader, recipe, tiny_model
from torch.distributed.fsdp.wrap import _recursive_wrap

from ca2st_mm.engine import launch
from ca2st_mm.models.layers.transformer import AttentionBlock

ROOT = Path(__file__).resolve().parents[2]
STRATEGY_FILES = sorted((CONFIGS / '_base_/strategies').glob('*.py'))


@pytest.mark.parametrize('path', STRATEGY_FILES, ids=lambda path: path.stem)
def test_a_strategy_joins_any_recipe(path, tmp_path):
    config = tmp_path / 'config.py'
    recipe_file = CONFIGS / 'ca2st/ca2st_k400.py'
    config.write_text(f'_base_ = [{str(recipe_file)!r}, {str(path)!r}]\n')
    cfg = Config.fromfile(config)
    assert cfg.runner_type == 'FlexibleRunner'
    assert STRATEGIES.get(cfg.strategy.type) is not None
    assert 'Not run here' in path.read_text()
    if wrapper := cfg.strategy.get('model_wrapper'):
        assert MODEL_WRAPPERS.get(wrapper.type) is not None
        assert FUNCTIONS.get(wrapper.auto_wrap_policy) is not None


def test_every_half_is_a_unit_of_fsdp():
    model = tiny.build(tiny.CA2ST)
    units = []

    class Unit:
        def __new__(cls, module, **kwargs):
            units.append(module)
            return module

    policy = FUNCTIONS.get('wrap_halves')
    _recursive_wrap(model, policy, Unit, set(), set())
    assert len(units) == 2 * tiny.DEPTH * len(model.experts)
    assert sum(isinstance(u, AttentionBlock) for u in units) * 2 == len(units)


def load_tool(name):
    path = ROOT / 'tools' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'tool_{name}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def losses_with(tmp_path, name, **changes):
    inputs = dict(imgs=tiny.video(4))
    clips = Clips(inputs, [0, 1, 2, 3])
    settings = recipe(2)
    losses = Losses()
    settings['custom_hooks'].append(losses)
    cfg = Config(
        dict(
            settings,
            work_dir=str(tmp_path / name),
            launcher='none',
            default_scope='mmaction',
            log_level='WARNING',
            experiment_name=f'{tmp_path.name}-{name}',
            **changes,
        )
    )
    # Built parts are no part of a config's text.
    cfg.model = tiny_model(tiny.CAST, inputs)
    cfg.train_dataloader = loader(clips, 2)
    tool = load_tool('train')
    flags = argparse.Namespace(
        no_validate=False,
        amp=False,
        resume=None,
        auto_scale_lr=False,
        seed=1,
        diff_rank_seed=False,
        deterministic=False,
    )
    tool.apply_flags(cfg, flags)
    launch.build_runner(cfg).train()
    return losses


def test_the_flexible_runner_trains_alike(tmp_path):
    plain = losses_with(tmp_path, 'plain')
    flexible = losses_with(
        tmp_path,
        'flexible',
        runner_type='FlexibleRunner',
        strategy=dict(type='SingleDeviceStrategy'),
    )
    assert len(plain.values) == 4
    assert flexible.values == plain.values
    assert flexible.rates == plain.rates
