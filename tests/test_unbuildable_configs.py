# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A config that cannot be built is one sentence, whatever builds it."""

import copy

import pytest
from tool_runs import run_tool, small_config, write_data
from torch import nn

from ca2st_mm.checkpoints.sharing import build_model
from ca2st_mm.registry import MODELS
from ca2st_mm.utils.errors import UsageError

TOOLS = {
    'train': ('train.py',),
    'test': ('test.py', 'none.pth'),
    'export': ('export.py', 'random', '--out', 'x.onnx'),
    'data': ('analysis/benchmark_data.py',),
    'flops': ('analysis/get_flops.py',),
    'gpu': ('analysis/benchmark_gpu.py', '--device', 'cpu'),
}
EXPERT = 'model.backbone.experts.temporal'
LINK = 'model.backbone.links.0'
OPTIMIZER = 'optim_wrapper.optimizer'
DATA = 'train_dataloader.dataset'


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp('unbuildable')
    write_data(folder)
    return small_config('cast_toy', folder)


def broken(config, key, value):
    """The config with another value, or another entry, at a key."""
    config = copy.deepcopy(config)
    *outer, last = key.split('.')
    node = config
    for name in outer:
        node = node[int(name) if isinstance(node, list) else name]
    node[last] = value
    return config


@pytest.mark.parametrize(
    ('tool', 'key', 'value', 'part', 'reason'),
    [
        ('train', 'model.type', 'Rec', 'model (Rec)', 'not in the'),
        ('test', 'model.cls_head.dropp', 1, 'model.cls_head (', 'dropp'),
        ('export', 'model.cls_head.type', 'Hed', 'model.cls_head (', 'Hed'),
        ('flops', 'model.backbone.exchangee', 1, 'model.backbone (', 'nge'),
        ('flops', f'{LINK}.ratioo', 1, f'{LINK} (', 'ratioo'),
        ('data', f'{DATA}.pipeline.0.type', 'Op', '', 'Op is not in the'),
        ('gpu', f'{EXPERT}.arch', 3, f'{EXPERT} (', 'Error'),
        ('train', f'{EXPERT}.type', 'Mae', f'{EXPERT} (Mae)', 'not in the'),
        ('train', f'{OPTIMIZER}.lrr', 1, f'{OPTIMIZER} (AdamW)', 'lrr'),
        ('train', f'{DATA}.x', 1, f'{DATA} (AudioVisualDataset)', "'x'"),
    ],
)
def test_a_part_that_cannot_be_built_is_one_sentence(
    config, tool, key, value, part, reason, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'none.pth').touch()
    broken(config, key, value).dump('own.py')
    name, *rest = TOOLS[tool]
    assert run_tool(name, 'own.py', *rest) == 2
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert f'own.py: {part}' in said and reason in said


def test_the_error_of_a_users_own_class_is_not_hidden(config):
    class OwnHead(nn.Module):
        def __init__(self, broken: bool, **options):
            super().__init__()
            int('two' if broken else 2)

    MODELS.register_module(module=OwnHead, force=True)
    head = dict(type='OwnHead', broken=True)
    with pytest.raises(ValueError, match="^invalid literal.*'two'$"):
        build_model(broken(config, 'model.cls_head', head))
    with pytest.raises(UsageError, match='model.cls_head .OwnHead.*broken'):
        build_model(broken(config, 'model.cls_head', dict(type='OwnHead')))
