# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Published layouts are recognised, and every tensor is accounted for."""

import re

import pytest
import torch
from layouts import EXPERTS, NAMES, published
from mmaction.registry import MODELS

from ca2st_mm.checkpoints import (
    LAYOUTS,
    CheckpointError,
    detect_layout,
    load_expert,
    loading,
)

every_layout = pytest.mark.parametrize('name', NAMES)


def convert(name, weights):
    return LAYOUTS[name].convert(weights)


@every_layout
@pytest.mark.parametrize('prefix', ['', 'backbone.', 'backbone.experts.a.'])
def test_a_layout_is_told_from_all_others_and_what_we_write_is_ours(
    name, prefix
):
    weights = published(name)
    fits = [
        one.name
        for one in LAYOUTS.values()
        if one.find_prefix(weights) is not None
    ]
    assert fits == [name] and detect_layout(weights) is LAYOUTS[name]
    converted = convert(name, weights).state_dict
    ours = {prefix + key: value for key, value in converted.items()}
    assert detect_layout(ours).name == 'ca2st_mm'
    again = convert('ca2st_mm', ours)
    assert again.ignored == {}
    assert all(again.state_dict[key] is ours[key] for key in ours)


@pytest.mark.parametrize(
    'stranger',
    [
        # A ResNet of CLIP, a plain image transformer, an image tower of timm.
        ('visual.conv1.weight', 'visual.layer1.0.conv1.weight'),
        (
            'cls_token',
            'patch_embed.proj.weight',
            'blocks.0.attn.qkv.weight',
            'blocks.0.mlp.fc1.weight',
        ),
        ('visual.trunk.patch_embed.proj.weight', 'logit_scale'),
        (),
    ],
)
def test_strangers_are_not_taken_for_relatives(stranger):
    with pytest.raises(ValueError, match='fit no known layout'):
        detect_layout(dict.fromkeys(stranger, 0))


# Keys that no expert of ours is made of.
NOT_OURS = ('proj', 'classifier', 'mlp_head', 'text', 'fc_norm')


def needed(name):
    """Keys whose loss must be noticed."""
    return [
        key
        for key in published(name)
        if not key.removeprefix('visual.').startswith(NOT_OURS)
        and not re.search(r'\.[02]\.', key)  # the layers are alike
    ]


@every_layout
def test_every_missing_key_and_layer_is_noticed(name, monkeypatch):
    whole = published(name)
    config = dict(EXPERTS[LAYOUTS[name].model], adapter_ratio=None)
    expert = MODELS.build(config)
    made_of = convert(name, whole).origins
    for lost in needed(name):
        rest = {k: v for k, v in whole.items() if k != lost}
        monkeypatch.setattr(
            loading, 'open_checkpoint', lambda _, rest=rest: rest
        )
        with pytest.raises(CheckpointError) as error:
            load_expert(expert, dict(type='Pretrained', checkpoint='a.pth'))
        ours = next(key for key, theirs in made_of.items() if lost in theirs)
        # One of a layer is named as its publisher names it.
        in_layer = re.search(r'\.\d+\.', lost)
        if 'fit no known layout' not in str(error.value):
            assert (lost if in_layer else ours) in str(error.value)
    rest = {k: v for k, v in whole.items() if '.1.' not in k}
    with pytest.raises(KeyError, match='the checkpoint lacks'):
        convert(name, rest)


@every_layout
@pytest.mark.parametrize(
    'stray', ['gamma_1', 'attn.logit_scale', 'norm1.running_mean']
)
def test_an_unknown_key_is_named(name, stray):
    whole = published(name)
    layer = next(k for k in whole if '.1.' in k).split('.1.')[0]
    key = f'{layer}.1.{stray}'
    with pytest.raises(KeyError, match='keys are unknown') as error:
        convert(name, {**whole, key: torch.zeros(4)})
    assert key in str(error.value)


@every_layout
def test_nothing_vanishes(name):
    whole = published(name)
    conversion = convert(name, whole)
    used = [key for keys in conversion.origins.values() for key in keys]
    assert len(used) == len(set(used))
    assert set(used) | set(conversion.ignored) == set(whole)
    assert not set(used) & set(conversion.ignored)
    assert set(conversion.origins) == set(conversion.state_dict)
    total = sum(whole[key].numel() for key in used)
    added = 3 * 4 if name.startswith('videomae') else 0  # zero key biases
    converted = sum(v.numel() for v in conversion.state_dict.values())
    assert converted == total + added


@every_layout
def test_half_precision_becomes_float32_exactly(name):
    half = published(name, torch.float16)
    conversion = convert(name, half)
    expected = convert(name, {k: v.float() for k, v in half.items()})
    for key, value in expected.state_dict.items():
        assert conversion.state_dict[key].dtype == torch.float32
        assert torch.equal(conversion.state_dict[key], value), key
    said = set(conversion.notes) - set(expected.notes)
    assert len(said) == 1 and 'became float32' in said.pop()


@every_layout
def test_an_index_table_is_no_weight(name):
    whole = published(name)
    key = needed(name)[-1]
    whole[key] = torch.zeros(whole[key].shape, dtype=torch.long)
    with pytest.raises(KeyError, match='is no weight'):
        convert(name, whole)


@pytest.mark.parametrize(
    'name, front, key',
    [
        ('videomae_official', 'blocks.{}.attn', 'k_bias'),
        ('videomae_mmaction', 'blocks.{}.attn', 'k_bias'),
        (
            'videomae_hf',
            'videomae.encoder.layer.{}.attention.attention',
            'key.bias',
        ),
    ],
)
def test_a_key_bias_is_held_and_zero_where_there_is_none(name, front, key):
    whole = published(name)
    biases = {f'{front.format(i)}.{key}': torch.randn(4) for i in range(3)}
    ours = convert(name, {**whole, **biases}).state_dict
    plain = convert(name, whole).state_dict
    for i in range(3):
        there = front.format(i)
        q, v = whole[f'{there}.q_bias'], whole[f'{there}.v_bias']
        bias = f'layers.{i}.attention.attn.qkv.bias'
        with_key = torch.cat([q, biases[f'{there}.{key}'], v])
        assert torch.equal(ours[bias], with_key)
        assert torch.equal(plain[bias], torch.cat([q, 0 * q, v]))


def test_one_bias_for_all_three_is_held_and_a_second_kind_refused():
    whole = published('videomae_official')
    joined = {f'blocks.{i}.attn.qkv.bias': torch.randn(12) for i in range(3)}
    parts = ('q_bias', 'v_bias')
    rest = {k: v for k, v in whole.items() if not k.endswith(parts)}
    ours = convert('videomae_official', {**rest, **joined}).state_dict
    for i in range(3):
        bias = ours[f'layers.{i}.attention.attn.qkv.bias']
        assert torch.equal(bias, joined[f'blocks.{i}.attn.qkv.bias'])
    with pytest.raises(KeyError, match='there twice.*q_bias'):
        convert('videomae_official', {**whole, **joined})
    whole = published('videomae_hf')
    front = 'videomae.encoder.layer.{}.attention.attention.{}.bias'
    for i in range(3):
        for name in ('query', 'value'):
            whole[front.format(i, name)] = torch.zeros(4)
    with pytest.raises(KeyError, match='there twice.*query.bias'):
        convert('videomae_hf', whole)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_a_sinusoid_table_is_left_out_and_a_learned_one_refused(dtype):
    whole = published('videomae_mmaction')
    table = torch.randn(1, 8, 4, dtype=dtype)
    with pytest.raises(ValueError, match='a learned one'):
        convert('videomae_mmaction', {**whole, 'pos_embed': table})
    angle = torch.arange(8.0)[:, None] / 10000 ** torch.tensor(
        [0, 0, 0.5, 0.5]
    )
    table = torch.where(torch.arange(4) % 2 == 0, angle.sin(), angle.cos())
    whole['pos_embed'] = table[None].to(dtype)
    assert list(convert('videomae_mmaction', whole).ignored) == ['pos_embed']


BASE = dict(dims=768, depth=12, hidden=3072)
LARGE = dict(dims=1024, depth=24, hidden=4096)


@pytest.mark.parametrize(
    'names, expert, arch, sizes',
    [
        ('clip', 'CLIPExpert', 'base', dict(BASE, positions=197)),
        ('clip', 'CLIPExpert', 'large', dict(LARGE, positions=257, patch=14)),
        ('videomae', 'VideoMAEExpert', 'base', BASE),
        ('videomae', 'VideoMAEExpert', 'large', LARGE),
        ('ast', 'ASTExpert', 'base', dict(BASE, positions=1214)),
    ],
)
def test_every_tensor_of_the_full_size_gets_its_shape(
    names, expert, arch, sizes
):
    with torch.device('meta'):
        config = dict(type=expert, arch=arch, adapter_ratio=None)
        model = MODELS.build(config)
        own = {k: v.shape for k, v in model.state_dict().items()}
        for name in NAMES:
            if name.startswith(names):
                found = convert(name, published(name, **sizes)).state_dict
                assert {k: v.shape for k, v in found.items()} == own
