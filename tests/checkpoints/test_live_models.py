# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Converted weights compute what the models they come from compute."""

import pytest
import torch
from layouts import (
    ast_official,
    clip_openai,
    run_expert,
    videomae_official,
)
from mmaction.registry import MODELS
from safetensors.torch import load_file

from ca2st_mm.checkpoints import detect_layout, unwrap

DIMS, HEADS, DEPTH, HIDDEN = 32, 4, 2, 48
SIZE, FRAMES, SPEC = 32, 4, (64, 46)
ARCH = dict(
    embed_dims=DIMS,
    num_layers=DEPTH,
    num_heads=HEADS,
    feedforward_channels=HIDDEN,
    patch_size=16,
)
EXPERTS = dict(
    clip=dict(type='CLIPExpert', arch=ARCH, img_size=SIZE, num_frames=1),
    videomae=dict(
        type='VideoMAEExpert', arch=ARCH, img_size=SIZE, num_frames=FRAMES
    ),
    ast=dict(
        type='ASTExpert',
        arch=dict(ARCH, pretrained_mels=SPEC[1]),
        spec_size=SPEC,
    ),
)
HF = dict(
    hidden_size=DIMS,
    intermediate_size=HIDDEN,
    num_hidden_layers=DEPTH,
    num_attention_heads=HEADS,
)
IMAGE = dict(HF, image_size=SIZE, patch_size=16)


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


INPUTS = dict(
    clip=random(2, 3, SIZE, SIZE),
    videomae=random(2, 3, FRAMES, SIZE, SIZE),
    ast=random(2, 1, *SPEC),
)


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture
def transformers():
    return pytest.importorskip(
        'transformers', reason='transformers is not installed'
    )


def noisy(model):
    """Fill a model with noise large enough for uneven attention."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.named_parameters():
        noise = torch.randn(value.shape, generator=generator)
        is_norm = value.ndim == 1 and name.endswith('weight')
        value.copy_(1 + 0.1 * noise if is_norm else 0.2 * noise)
    return model.eval()


def on_disk(model, folder):
    model.save_pretrained(folder)
    return load_file(folder / 'model.safetensors')


def converted(container, source):
    state_dict = unwrap(container)
    found = detect_layout(state_dict)
    assert found.name == source
    return found.convert(state_dict).state_dict


def outputs(model, state_dict):
    """Last hidden state (B, tokens, C) and feature of our expert."""
    config = dict(EXPERTS[model], adapter_ratio=None, frozen_parts=())
    expert = MODELS.build(config).eval()
    expert.load_state_dict(state_dict, strict=True)
    out = run_expert(expert, INPUTS[model])
    return out['last_hidden_state'], out['pooled']


def require_close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert ((a - b).abs().max() / b.abs().max()).item() < 1e-5


def under(prefix, weights):
    return {prefix + key: value for key, value in weights.items()}


# Left out: the text tower of OpenAI, and OpenCLIP's own class.
TEXT_OPENAI = {
    'positional_embedding': torch.randn(9, DIMS),
    'text_projection': torch.randn(DIMS, 7),
    'logit_scale': torch.tensor(4.6),
    'token_embedding.weight': torch.randn(20, DIMS),
    'transformer.resblocks.0.ln_1.weight': torch.randn(DIMS),
    'transformer.resblocks.0.attn.in_proj_weight': torch.randn(3, DIMS),
    'ln_final.weight': torch.randn(DIMS),
    'ln_final.bias': torch.randn(DIMS),
    'input_resolution': torch.tensor(SIZE),
    'context_length': torch.tensor(9),
    'vocab_size': torch.tensor(20),
}
TEXT_OPENCLIP = {
    'text.positional_embedding': torch.randn(9, DIMS),
    'text.transformer.resblocks.0.ln_1.weight': torch.randn(DIMS),
    'logit_scale': torch.tensor(4.6),
    'logit_bias': torch.tensor(-10.0),
}


def test_clip(transformers, tmp_path):
    text = transformers.CLIPTextConfig(
        **HF, vocab_size=20, bos_token_id=0, eos_token_id=1
    )
    vision = transformers.CLIPVisionConfig(**IMAGE)
    config = transformers.CLIPConfig(
        vision_config=vision.to_dict(), text_config=text.to_dict()
    )
    model = noisy(transformers.CLIPModel(config))
    tower = model.vision_model
    alone = transformers.CLIPVisionModel(vision)
    alone.load_state_dict(tower.state_dict())
    projected = transformers.CLIPVisionModelWithProjection(vision)
    projected.vision_model.load_state_dict(tower.state_dict())
    front = under('vision_model.', tower.state_dict())
    front['vision_model.embeddings.position_ids'] = torch.arange(5)[None]
    saved = on_disk(model, tmp_path)
    openai = clip_openai(saved)
    alone_openai = {k.removeprefix('visual.'): v for k, v in openai.items()}
    parallel = under('module.', openai | TEXT_OPENAI)
    expected = model.vision_model(INPUTS['clip'])
    for source, container in [
        ('clip_hf', model.state_dict()),
        ('clip_hf', saved),
        ('clip_hf', alone.state_dict()),
        ('clip_hf', projected.state_dict()),
        ('clip_hf', front),
        ('clip_openai', openai | TEXT_OPENAI),
        ('clip_openai', alone_openai),
        ('clip_openai', dict(epoch=3, state_dict=parallel)),
        ('clip_openai', openai | TEXT_OPENCLIP),
    ]:
        require_close(
            outputs('clip', converted(container, source)),
            (expected.last_hidden_state, expected.pooler_output),
        )


MASKED = {
    'encoder.norm.weight': torch.randn(DIMS),
    'encoder.norm.bias': torch.randn(DIMS),
    'decoder.blocks.0.norm1.weight': torch.randn(8),
    'encoder_to_decoder.weight': torch.randn(8, DIMS),
    'mask_token': torch.randn(1, 1, 8),
}


def test_videomae(transformers, tmp_path):
    config = transformers.VideoMAEConfig(
        **IMAGE,
        num_frames=FRAMES,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_hidden_size=16,
        decoder_intermediate_size=16,
        num_labels=5,
    )
    model = noisy(transformers.VideoMAEForVideoClassification(config))
    pretraining = transformers.VideoMAEForPreTraining(config)
    pretraining.videomae.load_state_dict(model.videomae.state_dict())
    clip = INPUTS['videomae'].transpose(1, 2)
    hidden, logits = model.videomae(clip).last_hidden_state, model(clip).logits
    saved = on_disk(model, tmp_path)
    official = videomae_official(saved)
    head = {'head.weight': torch.randn(5, DIMS), 'head.bias': torch.randn(5)}
    encoder = {k: v for k, v in official.items() if 'fc_norm' not in k}
    masked = under('encoder.', encoder) | MASKED
    for source, container in [
        ('videomae_hf', model.state_dict()),
        ('videomae_hf', saved),
        ('videomae_official', official | head),
        ('videomae_official', dict(module=official | head)),
        ('videomae_official', dict(model=official | head, optimizer={})),
        ('videomae_official', under('backbone.', official)),
        # Without the last norm.
        ('videomae_hf', model.videomae.state_dict()),
        ('videomae_hf', pretraining.state_dict()),
        ('videomae_official', dict(model=masked, epoch=1)),
    ]:
        state_dict = converted(container, source)
        has_norm = 'fc_norm.weight' in ' '.join(unwrap(container))
        assert ('norm.weight' in state_dict) == has_norm
        norm = under('norm.', model.fc_norm.state_dict())
        ours, feature = outputs('videomae', {**norm, **state_dict})
        require_close((ours, model.classifier(feature)), (hidden, logits))


@pytest.mark.parametrize('front', ['', 'backbone.'])
def test_videomae_of_mmaction(front):
    model = noisy(
        MODELS.build(
            dict(
                type='VisionTransformer',
                img_size=SIZE,
                embed_dims=DIMS,
                depth=DEPTH,
                num_heads=HEADS,
                mlp_ratio=HIDDEN / DIMS,
                num_frames=FRAMES,
            )
        )
    )
    weights = under(front, model.state_dict())
    if front:
        weights['cls_head.fc_cls.weight'] = torch.randn(5, DIMS)
    container = dict(state_dict=weights, meta=dict(epoch=1))
    state_dict = converted(container, 'videomae_mmaction')
    _, feature = outputs('videomae', state_dict)
    require_close([feature], [model(INPUTS['videomae'])])


def test_ast(transformers, tmp_path):
    # What 'transformers' 5 holds in memory and what files hold differ.
    config = transformers.ASTConfig(
        **HF, max_length=SPEC[0], num_mel_bins=SPEC[1], num_labels=5
    )
    model = noisy(transformers.ASTForAudioClassification(config))
    encoder = model.audio_spectrogram_transformer
    expected = encoder(INPUTS['ast'][:, 0])
    saved = on_disk(model, tmp_path)
    image_head = {'v.head.weight': torch.randn(10, DIMS)}
    official = ast_official(saved) | image_head
    for source, container in [
        ('ast_hf', model.state_dict()),
        ('ast_hf', saved),
        ('ast_hf', encoder.state_dict()),
        ('ast_official', official),
        ('ast_official', under('module.', official)),
    ]:
        require_close(
            outputs('ast', converted(container, source)),
            (expected.last_hidden_state, expected.pooler_output),
        )
