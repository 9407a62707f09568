# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Parameter groups of our constructor and of MMEngine's."""

import copy

import pytest
import tiny_models as tiny
from mmaction.registry import MODELS
from mmengine.optim import build_optim_wrapper
from torch import nn

LR, WEIGHT_DECAY = 1.0, 0.1
ADAMW = dict(type='AdamW', lr=LR, weight_decay=WEIGHT_DECAY)
OURS = 'MultiExpertOptimConstructor'
SHARED = dict(tiny.CA2ST, share_bottlenecks=True)


def build_groups(model, constructor=OURS, optimizer=ADAMW, **options):
    """{name: (learning rate, weight decay)} of what is trained."""
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(optimizer),
            constructor=constructor,
            paramwise_cfg=options,
        ),
    )
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }


@pytest.mark.parametrize('kind', tiny.EXPERTS)
def test_trained_embeddings_learn_below_all_layers(kind):
    expert = tiny.build(tiny.EXPERTS[kind]).requires_grad_(True)
    found = build_groups(expert, layer_decay=0.5)
    rates = {name: lr for name, (lr, _) in found.items()}
    assert len(rates) == len(list(expert.named_parameters()))
    parts = expert.parts()
    ids = {part: {id(p) for p in parts[part]} for part in parts}
    for name, parameter in expert.named_parameters():
        if id(parameter) in ids['embed']:
            assert rates[name] == 0.5 ** (tiny.DEPTH + 1), name
        elif id(parameter) in ids['norm']:
            assert rates[name] == 1.0, name
        else:
            index = int(next(s for s in name.split('.') if s.isdigit()))
            assert rates[name] == 0.5 ** (tiny.DEPTH - index), name


def mmaction_vit(depth=2):
    return MODELS.build(
        dict(
            type='Recognizer3D',
            backbone=dict(tiny.MMACTION['backbone'], depth=depth),
            cls_head=dict(
                type='TimeSformerHead', num_classes=3, in_channels=tiny.DIMS
            ),
        )
    )


def resnet():
    """It inherits a get_layer_depth that only raises."""
    model = nn.Module()
    model.backbone = MODELS.build(dict(type='mmpretrain.ResNet', depth=18))
    return model


@pytest.mark.parametrize(
    'make, words',
    [
        (mmaction_vit, 'VisionTransformer.*layer_depth'),
        (resnet, 'ResNet.*layer_depth'),
    ],
)
def test_layer_decay_is_refused_where_layers_are_unknown(make, words):
    """Learning rates above the full one were the answer before."""
    with pytest.raises(ValueError, match=words):
        build_groups(make(), layer_decay=0.75)


@pytest.mark.parametrize('stated, right', [(2, True), (1, False)])
def test_a_backbone_can_say_where_its_layers_are(stated, right):
    """In the convention of MMPretrain; an index out of range is an error."""
    model = mmaction_vit()

    def get_layer_depth(name, prefix):
        parts = name.removeprefix(prefix).split('.')
        if parts[0] != 'blocks':
            return (stated + 1 if parts[0] == 'fc_norm' else 0), stated + 2
        return int(parts[1]) + 1, stated + 2

    model.backbone.get_layer_depth = get_layer_depth
    if not right:
        model.backbone.blocks.append(copy.deepcopy(model.backbone.blocks[0]))
        with pytest.raises(ValueError, match=r'blocks.2\..* of 1 layers'):
            build_groups(model, layer_decay=0.5)
        return
    rates = build_groups(model, layer_decay=0.5)
    assert rates['backbone.blocks.1.attn.proj.weight'][0] == 0.5
    assert rates['backbone.blocks.0.attn.proj.weight'][0] == 0.25
    assert rates['backbone.patch_embed.projection.weight'][0] == 0.125
    assert rates['cls_head.fc_cls.weight'][0] == 1.0


@pytest.mark.parametrize('constructor', [OURS, None])
def test_options_by_part_of_a_name(constructor):
    """With shared bottlenecks, in our constructor and in MMEngine's."""
    model = tiny.recognizer(SHARED)
    everything = dict(model.named_parameters(remove_duplicate=False))
    assert len(everything) > len(dict(model.named_parameters()))
    options = dict(
        custom_keys={
            'cls_head': dict(lr_mult=10.0),
            'experts.audio': dict(lr_mult=0.1, decay_mult=0.5),
        },
        norm_decay_mult=0.0,
    )
    found = build_groups(
        model, constructor or 'DefaultOptimWrapperConstructor', **options
    )
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert set(found) == trained
    assert found['cls_head.fc_cls.weight'] == (10 * LR, WEIGHT_DECAY)
    audio = {v for n, v in found.items() if 'experts.audio' in n}
    assert audio == {(0.1 * LR, 0.5 * WEIGHT_DECAY)}
    norms = [n for n in found if 'norm' in n and n.startswith('backbone.link')]
    assert norms and all(found[n] == (LR, 0.0) for n in norms)


def test_custom_keys_come_on_top_of_the_layer_decay():
    found = build_groups(
        tiny.recognizer(tiny.CAST),
        layer_decay=0.5,
        custom_keys={
            'links': dict(lr_mult=3.0),
            'links.1': dict(lr_mult=2.0),  # longer, so it is taken
        },
    )
    links = {
        layer: {lr for n, (lr, _) in found.items() if f'links.{layer}.' in n}
        for layer in (0, 1)
    }
    assert links == {0: {3.0 * 0.25}, 1: {2.0 * 0.5}}


def test_decay_factors_of_norms_biases_and_vectors():
    found = build_groups(
        nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 2)),
        norm_decay_mult=1.0,
        bias_decay_mult=0.5,
    )
    assert {n: decay for n, (_, decay) in found.items()} == {
        '0.weight': WEIGHT_DECAY,
        '0.bias': WEIGHT_DECAY,
        '1.weight': WEIGHT_DECAY,
        '1.bias': 0.5 * WEIGHT_DECAY,
    }


def test_position_tables_are_a_choice():
    model = tiny.build(tiny.CAST)
    tables = [n for n, _ in model.named_parameters() if n.endswith('_table')]
    default = build_groups(model)
    assert tables and all(default[n] == (LR, 0.0) for n in tables)
    decayed = build_groups(model, not_decayed=())
    assert all(decayed[n] == (LR, WEIGHT_DECAY) for n in tables)


def test_a_copy_has_the_same_groups_in_the_same_order():
    """A resumed run matches groups by number."""
    model = tiny.build(tiny.CAST)
    first = build_groups(model, layer_decay=0.75)
    second = build_groups(copy.deepcopy(model), layer_decay=0.75)
    assert list(first.items()) == list(second.items())
    rates = [lr for lr, _ in first.values()]
    assert rates == sorted(rates)


@pytest.mark.parametrize(
    'options, kind, words',
    [
        (dict(layer_decay=0), ValueError, 'layer_decay'),
        (dict(layer_decay=1.5), ValueError, 'layer_decay'),
        (dict(bias_lr_mult=2.0), TypeError, 'bias_lr_mult'),
        (dict(custom_keys=dict(heads=dict())), ValueError, 'heads'),
        (dict(optimizer=dict(type='SGD')), ValueError, 'optimizer.lr'),
        (
            dict(optimizer=dict(type='AdmaW', lr=1)),
            ValueError,
            'AdmaW is not in the .* registry',
        ),
        (
            dict(optimizer=dict(type='SGD', lr=1), norm_decay_mult=0.5),
            ValueError,
            'optimizer.weight_decay',
        ),
    ],
)
def test_options_that_cannot_be_are_named(options, kind, words):
    with pytest.raises(kind, match=words):
        build_groups(nn.Sequential(nn.LayerNorm(2)), **options)
    with pytest.raises(ValueError, match='frozen_parts'):
        build_groups(nn.Linear(2, 2).requires_grad_(False))
