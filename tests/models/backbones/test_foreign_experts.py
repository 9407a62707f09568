# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Experts by one string: equal to their library, trained only where ours."""

import pytest
import torch
from mmaction.registry import MODELS
from tiny_models import difference, randomize
from torch import nn

from ca2st_mm.models.backbones.foreign import expert_config

timm = pytest.importorskip('timm')
transformers = pytest.importorskip('transformers')

BATCH, DIMS, DEPTH, STEPS = 2, 24, 2, 3
SMALL = dict(embed_dim=DIMS, depth=DEPTH, num_heads=2, img_size=32)
# timm's name and the side of the frames.
TIMM = {
    'vit_tiny_patch16_224': 32,
    'vit_base_patch16_clip_quickgelu_224': 32,
    'vit_base_patch16_siglip_224': 32,
    'vit_small_patch14_reg4_dinov2': 28,
    'vit_base_patch16_rpn_224': 32,
    'eva02_tiny_patch14_224': 28,
    'vit_small_patch16_dinov3': 32,
    'vit_small_patch16_rope_mixed_224': 32,
    'eva02_enormous_patch14_clip_224': 28,
}
SIZE = dict(
    hidden_size=DIMS,
    num_hidden_layers=DEPTH,
    num_attention_heads=2,
    intermediate_size=48,
)
IMAGE = dict(SIZE, image_size=32, patch_size=16)
CLIP_LIKE = dict(IMAGE, num_frames=4)
# Class that writes the folder, and its config.
HF = {
    'clip_vision_model': ('CLIPVisionModel', IMAGE),
    'siglip_vision_model': ('SiglipVisionModel', IMAGE),
    'dinov2': ('Dinov2Model', IMAGE),
    'dinov2_with_registers': ('Dinov2WithRegistersModel', IMAGE),
    'dinov3_vit': ('DINOv3ViTModel', dict(IMAGE, num_register_tokens=4)),
    'vit': ('ViTForImageClassification', IMAGE),
    'vivit': (
        'VivitForVideoClassification',
        dict(SIZE, image_size=32, num_frames=4, tubelet_size=[2, 16, 16]),
    ),
    'videomae': ('VideoMAEForVideoClassification', CLIP_LIKE),
    'vjepa2': (
        'VJEPA2ForVideoClassification',
        dict(
            hidden_size=DIMS,
            num_hidden_layers=DEPTH,
            num_attention_heads=2,
            pred_hidden_size=24,
            pred_num_hidden_layers=1,
            pred_num_attention_heads=2,
            num_pooler_layers=1,
            crop_size=32,
            frames_per_clip=4,
        ),
    ),
    'audio-spectrogram-transformer': (
        'ASTForAudioClassification',
        dict(SIZE, max_length=64, num_mel_bins=36),
    ),
}
every_model = pytest.mark.parametrize('name', [*TIMM, *HF])


@pytest.fixture(scope='module')
def folder_of(tmp_path_factory):
    """Folder of a small random model as its library writes it, by name."""
    made = {}

    def write(name):
        if name not in made:
            made[name] = str(tmp_path_factory.mktemp('models') / name)
            if name in TIMM:
                model = timm.create_model(
                    name, **dict(SMALL, img_size=TIMM[name])
                )
                timm.models.save_for_hf(randomize(model, 0.1), made[name])
            else:
                kind, config = HF[name]
                config = transformers.AutoConfig.for_model(name, **config)
                model = getattr(transformers, kind)(config)
                randomize(model, 0.1).save_pretrained(made[name])
        return made[name]

    return write


def build(cfg, **changes):
    expert = MODELS.build(dict(expert_config(cfg), **changes))
    expert.init_weights()
    return expert.eval()


def theirs(name, folder):
    """The library's own model, and its layers."""
    if name in TIMM:
        model = timm.create_model(
            f'local-dir:{folder}', pretrained=True, num_classes=0
        )
        return model.eval(), model.blocks
    model = getattr(transformers, HF[name][0]).from_pretrained(folder).eval()
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList)
        and module[0]._get_name().endswith('Layer')
    ]
    return model, layers[0]


def inputs_of(expert, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, *expert.input_shape, generator=generator)


def run_theirs(name, model, inputs):
    """What the library makes of the same inputs."""
    if name in TIMM or HF[name][1].get('image_size') and inputs.ndim == 4:
        return model(inputs)
    if name.startswith('audio'):
        return model(inputs.squeeze(1))
    if inputs.ndim == 5:
        inputs = inputs.transpose(1, 2)
    return model(inputs)


def sequences(expert, tokens):
    """(B, T, P + N, C) as the library lays them out."""
    return expert._gather(tokens)


@every_model
@torch.no_grad()
def test_tokens_of_every_layer_equal_the_library_s(name, folder_of):
    folder = folder_of(name)
    options = {}
    if name in TIMM or 'frames' not in str(HF[name][1]):
        options = {} if name.startswith('audio') else dict(num_frames=STEPS)
    expert = build(f'local-dir:{folder}', **options)
    inputs = inputs_of(expert)
    model, layers = theirs(name, folder)
    found = []
    for layer in layers:
        layer.register_forward_hook(
            lambda *args: found.append(
                args[-1][0] if isinstance(args[-1], tuple) else args[-1]
            )
        )
    frames = inputs.transpose(1, 2).flatten(0, 1) if options else inputs
    feature = run_theirs(name, model, frames)
    tokens = expert.embed(inputs)
    context = expert.context(tokens)
    for layer in range(DEPTH):
        tokens = expert.forward_attn(tokens, layer, context=context)
        tokens = expert.forward_ffn(tokens, layer)
        assert difference(sequences(expert, tokens), found[layer]) < 1e-5
        assert found[layer].std() > 0.1
    if name in TIMM:
        feature = feature.unflatten(0, (BATCH, STEPS)).mean(1)
    else:
        feature = None
    if feature is not None:
        assert difference(expert(inputs), feature) < 1e-5
    else:
        assert expert(inputs).shape == (BATCH, DIMS)
