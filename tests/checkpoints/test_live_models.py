# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Converted weights compute what the models they come from compute."""

import pytest
import torch
from mmaction.registry import MODELS
from published import (
    DEPTH,
    DIMS,
    FRAMES,
    HEADS,
    HIDDEN,
    INPUTS,
    SIZE,
    ast_config,
    clip_model,
    expert_output,
    hugging_face,
    noisy,
    official_ast,
    official_videomae_encoder,
    openai_model,
    openai_tower,
    openclip_model,
    videomae_config,
)
from safetensors.torch import load_file

from ca2st_mm.checkpoints import detect_source, unwrap


def difference(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def converted(container, source):
    state_dict = unwrap(container).state_dict
    found = detect_source(state_dict)
    assert found.name == source
    return found.to_ours(state_dict).state_dict


def on_disk(model, folder):
    model.save_pretrained(folder)
    return load_file(folder / 'model.safetensors')


def clip_layouts(model, folder):
    transformers = hugging_face()
    tower = model.vision_model
    alone = transformers.CLIPVisionModel(model.config.vision_config)
    alone.load_state_dict(tower.state_dict())
    projected = transformers.CLIPVisionModelWithProjection(
        model.config.vision_config
    )
    projected.vision_model.load_state_dict(tower.state_dict())
    front = {f'vision_model.{k}': v for k, v in tower.state_dict().items()}
    front['vision_model.embeddings.position_ids'] = torch.arange(5)[None]
    parallel = {f'module.{k}': v for k, v in openai_model(tower).items()}
    return [
        ('clip_hf', model.state_dict()),
        ('clip_hf', on_disk(model, folder)),
        ('clip_hf', alone.state_dict()),
        ('clip_hf', projected.state_dict()),
        ('clip_hf', front),
        ('clip_openai', openai_model(tower)),
        ('clip_openai', openai_tower(tower)),
        ('clip_openai', dict(epoch=3, state_dict=parallel)),
        ('clip_openai', openclip_model(tower)),
    ]


def test_clip(tmp_path):
    model = clip_model()
    with torch.no_grad():
        expected = model.vision_model(INPUTS['clip'])
    for source, container in clip_layouts(model, tmp_path):
        ours = expert_output('clip', converted(container, source))
        assert difference(ours.hidden, expected.last_hidden_state) < 1e-5
        assert difference(ours.feature, expected.pooler_output) < 1e-5


def videomae_layouts(model, folder):
    transformers = hugging_face()
    norm = {f'fc_norm.{k}': v for k, v in model.fc_norm.state_dict().items()}
    head = {'head.weight': torch.randn(5, DIMS), 'head.bias': torch.randn(5)}
    encoder = official_videomae_encoder(model.videomae)
    pretraining = transformers.VideoMAEForPreTraining(model.config)
    pretraining.videomae.load_state_dict(model.videomae.state_dict())
    masked = {
        **{f'encoder.{k}': v for k, v in encoder.items()},
        'encoder.norm.weight': torch.randn(DIMS),
        'encoder.norm.bias': torch.randn(DIMS),
        'decoder.blocks.0.norm1.weight': torch.randn(8),
        'encoder_to_decoder.weight': torch.randn(8, DIMS),
        'mask_token': torch.randn(1, 1, 8),
    }
    tuned = {**encoder, **norm, **head}
    backbone = {f'backbone.{k}': v for k, v in {**encoder, **norm}.items()}
    whole = [
        ('videomae_hf', model.state_dict()),
        ('videomae_hf', on_disk(model, folder)),
        ('videomae_official', tuned),
        ('videomae_official', dict(module=tuned)),
        ('videomae_official', dict(model=tuned, optimizer={})),
        ('videomae_official', backbone),
    ]
    encoder_only = [
        ('videomae_hf', model.videomae.state_dict()),
        ('videomae_hf', pretraining.state_dict()),
        ('videomae_official', dict(model=masked, epoch=1)),
    ]
    return whole, encoder_only


def test_videomae(tmp_path):
    transformers = hugging_face()
    config = videomae_config()
    model = noisy(transformers.VideoMAEForVideoClassification(config))
    clip = INPUTS['videomae'].transpose(1, 2)
    with torch.no_grad():
        hidden = model.videomae(clip).last_hidden_state
        logits = model(clip).logits
    whole, encoder_only = videomae_layouts(model, tmp_path)
    for source, container in whole:
        ours = expert_output('videomae', converted(container, source))
        assert difference(ours.hidden, hidden) < 1e-5
        assert difference(model.classifier(ours.feature), logits) < 1e-5
    norm = {f'norm.{k}': v for k, v in model.fc_norm.state_dict().items()}
    for source, container in encoder_only:
        state_dict = converted(container, source)
        assert not set(state_dict) & set(norm)
        ours = expert_output('videomae', {**state_dict, **norm})
        assert difference(ours.hidden, hidden) < 1e-5


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
    with torch.no_grad():
        expected = model(INPUTS['videomae'])
    weights = {front + k: v for k, v in model.state_dict().items()}
    if front:
        weights['cls_head.fc_cls.weight'] = torch.randn(5, DIMS)
    container = dict(state_dict=weights, meta=dict(epoch=1))
    state_dict = converted(container, 'videomae_mmaction')
    ours = expert_output('videomae', state_dict)
    assert difference(ours.feature, expected) < 1e-5


def test_ast(tmp_path):
    transformers = hugging_face()
    # What 'transformers' 5 holds in memory and what files hold differ.
    model = noisy(transformers.ASTForAudioClassification(ast_config()))
    encoder = model.audio_spectrogram_transformer
    with torch.no_grad():
        expected = encoder(INPUTS['ast'][:, 0])
    for source, container in [
        ('ast_hf', model.state_dict()),
        ('ast_hf', on_disk(model, tmp_path)),
        ('ast_hf', encoder.state_dict()),
        ('ast_official', official_ast(encoder)),
        ('ast_official', official_ast(encoder, 'v.')),
    ]:
        ours = expert_output('ast', converted(container, source))
        assert difference(ours.hidden, expected.last_hidden_state) < 1e-5
        assert difference(ours.feature, expected.pooler_output) < 1e-5
