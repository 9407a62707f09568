# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Published layouts are recognised, and every tensor is accounted for."""

import pytest
import torch
from layouts import NAMES, published
from mmaction.registry import MODELS

from ca2st_mm.checkpoints import SOURCES, detect_source

every_source = pytest.mark.parametrize('name', NAMES)


@every_source
def test_each_layout_is_recognised_as_one_source(name):
    weights = published(name)
    assert [s.name for s in SOURCES.values() if s.matches(weights)] == [name]
    assert detect_source(weights) is SOURCES[name]


@every_source
@pytest.mark.parametrize('prefix', ['', 'backbone.', 'backbone.experts.a.'])
def test_what_we_write_is_our_own(name, prefix):
    converted = SOURCES[name].to_ours(published(name)).state_dict
    ours = {prefix + key: value for key, value in converted.items()}
    source = detect_source(ours)
    assert source.name == 'ca2st_mm'
    again = source.to_ours(ours)
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
    with pytest.raises(ValueError, match='fit no known source'):
        detect_source(dict.fromkeys(stranger, 0))


def test_two_layouts_in_one_file_are_ambiguous():
    both = {**published('clip_hf'), **published('ast_official')}
    with pytest.raises(ValueError, match='clip_hf and ast_official at once'):
        detect_source(both)


def test_a_source_asked_for_by_name_refuses_other_names():
    with pytest.raises(ValueError, match='this is no CLIP of Hugging Face'):
        SOURCES['clip_hf'].to_ours(published('clip_openai'))


# Keys that no expert of ours is made of.
NOT_OURS = ('proj', 'classifier', 'mlp_head', 'text')


def needed(name):
    """Keys whose loss must be noticed by the converter."""
    return [
        key
        for key in published(name)
        if not key.removeprefix('visual.').startswith(NOT_OURS)
        and not key.startswith('fc_norm')
    ]


@every_source
def test_every_missing_key_is_noticed(name):
    whole = published(name)
    for lost in needed(name):
        rest = {k: v for k, v in whole.items() if k != lost}
        if not SOURCES[name].matches(rest):
            # A name that tells the layout is gone.
            with pytest.raises(ValueError, match='fit no known source'):
                detect_source(rest)
            continue
        with pytest.raises(KeyError) as error:
            SOURCES[name].to_ours(rest)
        assert lost in str(error.value)


@every_source
def test_a_lost_layer_is_noticed(name):
    whole = published(name)
    rest = {k: v for k, v in whole.items() if '.1.' not in k}
    with pytest.raises(KeyError, match=r'\.1\.'):
        SOURCES[name].to_ours(rest)


@every_source
@pytest.mark.parametrize(
    'stray', ['gamma_1', 'attn.logit_scale', 'norm1.running_mean']
)
def test_an_unknown_key_is_named(name, stray):
    whole = published(name)
    layer = next(k for k in whole if '.1.' in k).split('.1.')[0]
    key = f'{layer}.1.{stray}'
    with pytest.raises(KeyError, match='are unknown') as error:
        SOURCES[name].to_ours({**whole, key: torch.zeros(4)})
    assert key in str(error.value)


@every_source
def test_nothing_vanishes(name):
    whole = published(name)
    conversion = SOURCES[name].to_ours(whole)
    used = [key for keys in conversion.origins.values() for key in keys]
    assert len(used) == len(set(used))
    assert set(used) | set(conversion.ignored) == set(whole)
    assert not set(used) & set(conversion.ignored)
    assert set(conversion.origins) == set(conversion.state_dict)
    total = sum(whole[key].numel() for key in used)
    added = 3 * 4 if name.startswith('videomae') else 0  # zero key biases
    converted = sum(v.numel() for v in conversion.state_dict.values())
    assert converted == total + added


@every_source
def test_half_precision_becomes_float32_exactly(name):
    half = published(name, torch.float16)
    conversion = SOURCES[name].to_ours(half)
    expected = SOURCES[name].to_ours({k: v.float() for k, v in half.items()})
    for key, value in expected.state_dict.items():
        assert conversion.state_dict[key].dtype == torch.float32
        assert torch.equal(conversion.state_dict[key], value), key
    assert any('float16 became float32' in n for n in conversion.notes)
    assert not any('float16' in note for note in expected.notes)


@every_source
def test_an_index_table_is_no_weight(name):
    whole = published(name)
    key = needed(name)[-1]
    whole[key] = torch.zeros(whole[key].shape, dtype=torch.long)
    with pytest.raises(KeyError, match='is no weight'):
        SOURCES[name].to_ours(whole)


@pytest.mark.parametrize(
    'name, front, query, key',
    [
        ('videomae_official', 'blocks.{}.attn', 'q_bias', 'k_bias'),
        ('videomae_mmaction', 'blocks.{}.attn', 'q_bias', 'k_bias'),
        (
            'videomae_hf',
            'videomae.encoder.layer.{}.attention.attention',
            'q_bias',
            'key.bias',
        ),
    ],
)
def test_a_key_bias_is_held(name, front, query, key):
    whole = published(name)
    biases = {f'{front.format(i)}.{key}': torch.randn(4) for i in range(3)}
    ours = SOURCES[name].to_ours({**whole, **biases}).state_dict
    plain = SOURCES[name].to_ours(whole).state_dict
    for i in range(3):
        bias = ours[f'layers.{i}.attention.attn.qkv.bias']
        zero = plain[f'layers.{i}.attention.attn.qkv.bias']
        there = front.format(i)
        assert torch.equal(bias[4:8], biases[f'{there}.{key}'])
        assert torch.equal(zero[4:8], torch.zeros(4))
        assert torch.equal(bias[:4], whole[f'{there}.{query}'])
        assert torch.equal(zero[:4], bias[:4])
        assert torch.equal(zero[8:], bias[8:])


def test_one_bias_for_all_three_is_held():
    whole = published('videomae_official')
    joined = {f'blocks.{i}.attn.qkv.bias': torch.randn(12) for i in range(3)}
    parts = ('q_bias', 'v_bias')
    rest = {k: v for k, v in whole.items() if not k.endswith(parts)}
    ours = SOURCES['videomae_official'].to_ours({**rest, **joined})
    for i in range(3):
        bias = ours.state_dict[f'layers.{i}.attention.attn.qkv.bias']
        assert torch.equal(bias, joined[f'blocks.{i}.attn.qkv.bias'])
    with pytest.raises(KeyError, match='q_bias'):
        SOURCES['videomae_official'].to_ours({**whole, **joined})


def test_two_generations_of_biases_at_once_are_refused():
    whole = published('videomae_hf')
    front = 'videomae.encoder.layer.0.attention.attention'
    both = {f'{front}.{n}.bias': torch.zeros(4) for n in ('query', 'value')}
    with pytest.raises(KeyError, match='q_bias'):
        SOURCES['videomae_hf'].to_ours({**whole, **both})


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_a_sinusoid_table_is_left_out_and_a_learned_one_refused(dtype):
    whole = published('videomae_mmaction')
    table = torch.randn(1, 8, 4, dtype=dtype)
    with pytest.raises(ValueError, match='a learned one'):
        SOURCES['videomae_mmaction'].to_ours({**whole, 'pos_embed': table})
    angle = torch.arange(8.0)[:, None] / 10000 ** torch.tensor(
        [0, 0, 0.5, 0.5]
    )
    table = torch.where(torch.arange(4) % 2 == 0, angle.sin(), angle.cos())
    whole['pos_embed'] = table[None].to(dtype)
    conversion = SOURCES['videomae_mmaction'].to_ours(whole)
    assert conversion.ignored == {
        'pos_embed': 'sinusoid table; ours is computed'
    }


@pytest.fixture
def without_memory():
    """Shapes only: no tensor holds values."""
    with torch.device('meta'):
        yield


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
    names, expert, arch, sizes, without_memory
):
    config = dict(type=expert, arch=arch, adapter_ratio=None)
    own = {k: v.shape for k, v in MODELS.build(config).state_dict().items()}
    for name in NAMES:
        if name.startswith(names):
            weights = published(name, **sizes)
            found = SOURCES[name].to_ours(weights).state_dict
            assert {k: v.shape for k, v in found.items()} == own
