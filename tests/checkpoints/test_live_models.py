# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""However a library or a file holds a model, the same expert comes out.

That the expert computes the same is recorded: ``test_golden_experts.py``.
"""

import pytest
import torch
from layouts import DEPTH, DIMS, EXPERTS, HIDDEN, published, run_expert
from mmaction.registry import MODELS
from safetensors.torch import load_file

from ca2st_mm.checkpoints import detect_layout, unwrap

HF = dict(
    hidden_size=DIMS,
    intermediate_size=HIDDEN,
    num_hidden_layers=DEPTH,
    num_attention_heads=2,
)
IMAGE = dict(HF, image_size=32, patch_size=16)


def converted(container, name):
    weights = unwrap(container)
    layout = detect_layout(weights)
    assert layout.name == name
    return layout.convert(weights).state_dict


def assert_same(found, expected):
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def under(prefix, weights):
    return {prefix + key: value for key, value in weights.items()}


def inside(prefix, weights):
    """What stands under a prefix, without it."""
    return {
        key.removeprefix(prefix): value
        for key, value in weights.items()
        if key.startswith(prefix)
    }


def some(*names):
    return {name: torch.ones(2) for name in names}


TEXT_OPENAI = some(
    'positional_embedding',
    'text_projection',
    'logit_scale',
    'token_embedding.weight',
    'transformer.resblocks.0.attn.in_proj_weight',
    'ln_final.bias',
    'input_resolution',
    'context_length',
    'vocab_size',
)
TEXT_OPENCLIP = some('text.ln_final.bias', 'logit_scale', 'logit_bias')
TEXT_HF = some(
    'text_model.final_layer_norm.bias',
    'text_projection.weight',
    'visual_projection.weight',
    'logit_scale',
    'vision_model.embeddings.position_ids',
)
DECODER = some(
    'encoder.norm.weight', 'decoder.blocks.0.norm1.weight', 'mask_token'
)
CASES = [
    ('clip_openai', lambda w: inside('visual.', w)),
    ('clip_openai', lambda w: w | TEXT_OPENCLIP),
    (
        'clip_openai',
        lambda w: dict(epoch=3, state_dict=under('module.', w | TEXT_OPENAI)),
    ),
    ('clip_hf', lambda w: inside('vision_model.', w)),
    ('clip_hf', lambda w: w | TEXT_HF),
    ('videomae_official', lambda w: dict(module=w | some('head.bias'))),
    ('videomae_official', lambda w: under('backbone.', w)),
    # Pre-trained and without a head: their files lack the last norm.
    (
        'videomae_official',
        lambda w: dict(model=under('encoder.', w) | DECODER, epoch=1),
    ),
    ('videomae_hf', lambda w: inside('videomae.', w)),
    ('videomae_mmaction', lambda w: under('backbone.', w)),
    ('ast_official', lambda w: under('module.', w | some('v.head.weight'))),
    ('ast_official', lambda w: inside('v.', w)),
    ('ast_hf', lambda w: under('audio_spectrogram_transformer.', w)),
]


@pytest.mark.parametrize('name, change', CASES)
def test_what_stands_around_an_expert_changes_nothing(name, change):
    weights = published(name)
    if 'decoder.blocks.0.norm1.weight' in unwrap(change(weights)):
        weights = {k: v for k, v in weights.items() if 'fc_norm' not in k}
    expected = converted(weights, name)
    if name == 'videomae_hf':  # its last norm stands outside
        expected = {k: v for k, v in expected.items() if 'norm.' not in k[:5]}
    assert_same(converted(change(weights), name), expected)


def clip(transformers):
    vision = transformers.CLIPVisionConfig(**IMAGE)
    text = dict(HF, vocab_size=9, bos_token_id=0, eos_token_id=1)
    return transformers.CLIPModel(
        transformers.CLIPConfig(
            vision_config=vision.to_dict(), text_config=text
        )
    )


def videomae(transformers):
    return transformers.VideoMAEForVideoClassification(
        transformers.VideoMAEConfig(**IMAGE, num_frames=4, num_labels=5)
    )


def ast(transformers):
    return transformers.ASTForAudioClassification(
        transformers.ASTConfig(
            **HF, max_length=46, num_mel_bins=46, num_labels=5
        )
    )


@pytest.mark.parametrize('build', [clip, videomae, ast])
def test_models_of_transformers_in_memory_and_in_files(build, tmp_path):
    model = build(pytest.importorskip('transformers', minversion='5.23'))
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / 'model.safetensors')
    name = f'{build.__name__}_hf'
    # The names that these tests write down are those of files.
    for key in published(name):
        assert any(theirs.endswith(key) for theirs in saved), key
    expected = converted(saved, name)
    assert len(expected) == len(converted(published(name), name))
    assert_same(converted(model.state_dict(), name), expected)


@pytest.mark.parametrize('front', ['', 'backbone.'])
def test_a_model_of_mmaction_computes_the_same(front):
    model = MODELS.build(
        dict(
            type='VisionTransformer',
            img_size=32,
            embed_dims=DIMS,
            depth=DEPTH,
            num_heads=2,
            mlp_ratio=HIDDEN / DIMS,
            num_frames=4,
        )
    ).eval()
    for name, value in model.named_parameters():
        is_norm = value.ndim == 1 and name.endswith('weight')
        noise = torch.randn_like(value)
        value.data = 1 + 0.1 * noise if is_norm else 0.2 * noise
    weights = under(front, model.state_dict())
    if front:
        weights['cls_head.fc_cls.weight'] = torch.randn(5, DIMS)
    expert = MODELS.build(dict(EXPERTS['videomae'], adapter_ratio=None)).eval()
    container = dict(state_dict=weights, meta=dict(epoch=1))
    expert.load_state_dict(converted(container, 'videomae_mmaction'))
    clip = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        expected = model(clip)
    ours = run_expert(expert, clip)['pooled']
    assert ((ours - expected).abs().max() / expected.abs().max()) < 1e-5
