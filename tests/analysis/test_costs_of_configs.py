# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Any config has a cost, at any size that its experts can have."""

from pathlib import Path

import pytest
from mmaction.registry import MODELS
from mmengine.config import Config
from shrunk_models import shrink, without_init
from tool_runs import run_tool

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
NAMES = sorted(
    str(path.relative_to(CONFIGS))
    for path in CONFIGS.rglob('*.py')
    if '_base_' not in path.parts
)
EXPERT = ('backbone', 'backbone adapters')
ADAPTED = dict(
    type='VideoMAEExpert',
    arch=dict(
        embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48
    ),
    num_frames=4,
    img_size=32,
)


def models():
    """Each kind of model that a config has, small; recipes share many."""
    found = {}
    for name in NAMES:
        model = without_init(Config.fromfile(CONFIGS / name).model.to_dict())
        model = model if name.startswith('toy/') else shrink(model)
        kind = str([model['backbone'], model['cls_head']['type']])
        found.setdefault(kind, (name, model))
    return list(found.values())


def rows_of(tool, model):
    return {row['part']: row for row in tool.count(Config(dict(model=model)))}


@pytest.mark.parametrize('model', [pytest.param(m, id=n) for n, m in models()])
def test_every_config_has_a_cost(get_flops, model):
    rows = rows_of(get_flops, model)
    built = list(MODELS.build(model).parameters())
    total = rows.pop('all')
    assert total['parameters'] == sum(p.numel() for p in built)
    assert total['trainable'] == sum(
        p.numel() for p in built if p.requires_grad
    )
    experts = model['backbone'].get('experts')
    whole = [f'expert {name}' for name in experts] if experts else EXPERT[:1]
    assert set(whole) | {'head'} <= set(rows)
    # All arithmetic is that of a part with parameters.
    for row in rows.values():
        assert row['parameters'] and row['macs'] > 0
        assert row['macs_computed'] <= row['macs']
    for key in ('parameters', 'trainable', 'macs', 'macs_computed'):
        assert sum(row[key] for row in rows.values()) == total[key]


def lone(backbone):
    head = dict(type='TimeSformerHead', num_classes=5, in_channels=24)
    return Config(
        dict(model=dict(type='Recognizer3D', backbone=backbone, cls_head=head))
    )


@pytest.mark.parametrize(
    ('options', 'changed'),
    [
        (dict(frames=8), dict(num_frames=8)),
        (dict(size=64), dict(img_size=64)),
        (dict(frames=None, size=None, spec=None), {}),
    ],
)
def test_a_size_changes_the_model_with_the_clip(get_flops, options, changed):
    config = lone(ADAPTED)
    get_flops.resize(config.model, options)
    expected = get_flops.count(lone(dict(ADAPTED, **changed)))
    assert get_flops.count(config) == expected


def test_experts_of_one_clip_change_together(get_flops):
    config = Config.fromfile(CONFIGS / 'ca2st/ca2st_k400.py')
    get_flops.resize(config.model, dict(frames=8, size=96, spec=[400, 64]))
    experts = config.model.backbone.experts
    assert experts.spatial.num_frames == 4  # every second frame
    assert experts.temporal.num_frames == 8
    assert experts.spatial.img_size == experts.temporal.img_size == 96
    assert tuple(experts.audio.spec_size) == (400, 64)


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('cast/cast_k400', dict(frames=7), 'frame_stride 2 of spatial'),
        ('cast/cast_k400', dict(spec=[96, 36]), 'no expert of this model'),
        ('experts/ast_vggsound', dict(size=96), 'no expert of this model'),
        ('experts/videomae_k400', dict(frames=7), 'tubelets of 2'),
        ('cast/cast_k400', dict(size=100), 'do not tile a frame of 100'),
    ],
)
def test_a_size_that_cannot_be_is_refused(get_flops, name, options, message):
    config = Config.fromfile(CONFIGS / f'{name}.py')

    def resize_and_count():
        get_flops.resize(config.model, options)
        get_flops.count(config)

    with pytest.raises(ValueError, match=message):
        resize_and_count()


WRAPPED = dict(
    type='MMActionViTExpert',
    backbone=dict(
        type='VisionTransformer',
        img_size=32,
        embed_dims=24,
        depth=2,
        num_heads=2,
        num_frames=4,
    ),
)


def test_a_foreign_expert_is_counted_but_not_resized(get_flops):
    rows = {row['part']: row for row in get_flops.count(lone(WRAPPED))}
    for part in EXPERT:
        assert rows[part]['macs'] > 0
    for argument in ('num_frames', 'img_size'):
        option = dict(num_frames='frames', img_size='size')[argument]
        with pytest.raises(ValueError, match=f'no argument {argument}'):
            get_flops.resize(lone(WRAPPED).model, {option: 64})


def test_a_foreign_backbone_is_refused(get_flops):
    resnet = dict(type='ResNet3d', depth=18, pretrained=None)
    with pytest.raises(ValueError, match='ResNet3d is neither'):
        get_flops.count(lone(resnet))


def test_an_unknown_expert_is_named(get_flops):
    unknown = lone(dict(type='NoExpert')).model
    with pytest.raises(ValueError, match='unknown type NoExpert'):
        get_flops.resize(unknown, dict(frames=8))


def test_a_config_without_a_model_is_refused(get_flops):
    config = CONFIGS / '_base_/schedules/adamw_50e.py'
    stopped = run_tool('analysis/get_flops.py', config)
    assert stopped == f'{config} has no model with a backbone'
    assert run_tool('analysis/get_flops.py', 'missing.py') == 2


def test_the_command_explains_itself_in_one_sentence(get_flops):
    config = CONFIGS / 'toy/clip_toy.py'
    stopped = run_tool('analysis/get_flops.py', config, '--size', 30)
    why = 'patches of 8 px do not tile a frame of 30 px'
    assert stopped == f'{config}: {why}'
