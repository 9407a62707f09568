# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Live models of other libraries, and their weights in published layouts.

The layouts are written down here from the modules of live models, without
our tables: the forward of the live model then proves the tables.
"""

from types import SimpleNamespace

import pytest
import torch
from mmaction.registry import MODELS

DIMS, HEADS, DEPTH, HIDDEN = 32, 4, 2, 48
SIZE, FRAMES, SPEC = 32, 4, (64, 46)
ARCH = dict(
    embed_dims=DIMS,
    num_layers=DEPTH,
    num_heads=HEADS,
    feedforward_channels=HIDDEN,
    patch_size=16,
)
COMMON = dict(adapter_ratio=None, frozen_parts=())
EXPERTS = dict(
    clip=dict(
        COMMON, type='CLIPExpert', arch=ARCH, img_size=SIZE, num_frames=1
    ),
    videomae=dict(
        COMMON,
        type='VideoMAEExpert',
        arch=ARCH,
        img_size=SIZE,
        num_frames=FRAMES,
    ),
    ast=dict(
        COMMON,
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


def noisy(model, seed=0):
    """Fill a model with noise large enough for uneven attention."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            is_norm = value.ndim == 1 and name.endswith('weight')
            value.copy_(1 + 0.1 * noise if is_norm else 0.2 * noise)
    return model.eval()


def hugging_face():
    return pytest.importorskip(
        'transformers', reason='transformers is not installed'
    )


def clip_config(**changes):
    sizes = dict(HF, image_size=SIZE, patch_size=16)
    return hugging_face().CLIPVisionConfig(**{**sizes, **changes})


def clip_model():
    transformers = hugging_face()
    text = transformers.CLIPTextConfig(
        **HF, vocab_size=20, bos_token_id=0, eos_token_id=1
    )
    config = transformers.CLIPConfig(
        vision_config=clip_config().to_dict(), text_config=text.to_dict()
    )
    return noisy(transformers.CLIPModel(config))


def videomae_config(**changes):
    sizes = dict(HF, image_size=SIZE, num_frames=FRAMES, patch_size=16)
    decoder = dict(
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_hidden_size=16,
        decoder_intermediate_size=16,
    )
    sizes |= decoder | dict(num_labels=5)
    return hugging_face().VideoMAEConfig(**{**sizes, **changes})


def ast_config(**changes):
    sizes = dict(HF, max_length=SPEC[0], num_mel_bins=SPEC[1], num_labels=5)
    return hugging_face().ASTConfig(**{**sizes, **changes})


def random(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator)


INPUTS = dict(
    clip=random(2, 3, SIZE, SIZE),
    videomae=random(2, 3, FRAMES, SIZE, SIZE),
    ast=random(2, 1, *SPEC),
)


def expert_output(model, state_dict):
    """Last hidden state (B, tokens, C) and feature of our expert."""
    expert = MODELS.build(EXPERTS[model]).eval()
    expert.load_state_dict(state_dict, strict=True)
    with torch.no_grad():
        tokens = expert.embed(INPUTS[model])
        for layer in range(expert.num_layers):
            tokens = expert.forward_attn(tokens, layer)
            tokens = expert.forward_ffn(tokens, layer)
        feature = expert.pool(tokens)
        if model == 'ast':
            tokens = expert.norm(tokens)
    return SimpleNamespace(hidden=tokens.flatten(1, 2), feature=feature)


def _named(front, module):
    return {f'{front}.{k}': v for k, v in module.state_dict().items()}


def openai_tower(tower):
    """CLIP's image tower in the names of OpenAI."""
    out = {
        'class_embedding': tower.embeddings.class_embedding.data,
        'positional_embedding': tower.embeddings.position_embedding.weight,
        'proj': torch.randn(DIMS, 7),
        **_named('conv1', tower.embeddings.patch_embedding),
        **_named('ln_pre', tower.pre_layrnorm),
        **_named('ln_post', tower.post_layernorm),
    }
    for i, layer in enumerate(tower.encoder.layers):
        front, attn = f'transformer.resblocks.{i}', layer.self_attn
        qkv = (attn.q_proj, attn.k_proj, attn.v_proj)
        out |= {
            f'{front}.attn.in_proj_weight': torch.cat([m.weight for m in qkv]),
            f'{front}.attn.in_proj_bias': torch.cat([m.bias for m in qkv]),
            **_named(f'{front}.attn.out_proj', attn.out_proj),
            **_named(f'{front}.ln_1', layer.layer_norm1),
            **_named(f'{front}.ln_2', layer.layer_norm2),
            **_named(f'{front}.mlp.c_fc', layer.mlp.fc1),
            **_named(f'{front}.mlp.c_proj', layer.mlp.fc2),
        }
    return {key: value.detach().clone() for key, value in out.items()}


def openai_model(tower):
    """A whole model of OpenAI: the tower beside a text tower."""
    text = {
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
    image = {f'visual.{k}': v for k, v in openai_tower(tower).items()}
    return {**image, **text}


def openclip_model(tower):
    """OpenCLIP's class with a text tower of its own."""
    image = {f'visual.{k}': v for k, v in openai_tower(tower).items()}
    text = {
        'text.positional_embedding': torch.randn(9, DIMS),
        'text.transformer.resblocks.0.ln_1.weight': torch.randn(DIMS),
        'logit_scale': torch.tensor(4.6),
        'logit_bias': torch.tensor(-10.0),
    }
    return {**image, **text}


def _timm_block(front, block, qkv, biases):
    names = (block.layernorm_before, block.layernorm_after)
    qkv_weight = torch.cat([m.weight for m in qkv])
    return {
        **_named(f'{front}.norm1', names[0]),
        **_named(f'{front}.norm2', names[1]),
        f'{front}.attn.qkv.weight': qkv_weight,
        **{f'{front}.attn.{k}': v for k, v in biases.items()},
    }


def official_videomae_encoder(encoder):
    """VideoMAE's encoder in the names of the official code."""
    embeddings = encoder.embeddings.patch_embeddings.projection
    out = _named('patch_embed.proj', embeddings)
    for i, layer in enumerate(encoder.encoder.layer):
        front, attn = f'blocks.{i}', layer.attention.attention
        qkv = (attn.query, attn.key, attn.value)
        biases = dict(q_bias=attn.query.bias, v_bias=attn.value.bias)
        out |= {
            **_timm_block(front, layer, qkv, biases),
            **_named(f'{front}.attn.proj', layer.attention.output.dense),
            **_named(f'{front}.mlp.fc1', layer.intermediate.dense),
            **_named(f'{front}.mlp.fc2', layer.output.dense),
        }
    return {key: value.detach().clone() for key, value in out.items()}


def official_ast(model, front='module.v.'):
    """AST in the names of the official code, as its files hold it."""
    embeddings = model.embeddings
    out = {
        'cls_token': embeddings.cls_token,
        'dist_token': embeddings.distillation_token,
        'pos_embed': embeddings.position_embeddings,
        'head.weight': torch.randn(10, DIMS),
        'head_dist.weight': torch.randn(10, DIMS),
        **_named('patch_embed.proj', embeddings.patch_embeddings.projection),
        **_named('norm', model.layernorm),
    }
    for i, layer in enumerate(model.layers):
        own, attn = f'blocks.{i}', layer.attention
        qkv = (attn.q_proj, attn.k_proj, attn.v_proj)
        bias = {'qkv.bias': torch.cat([m.bias for m in qkv])}
        out |= {
            **_timm_block(own, layer, qkv, bias),
            **_named(f'{own}.attn.proj', attn.o_proj),
            **_named(f'{own}.mlp.fc1', layer.mlp.fc1),
            **_named(f'{own}.mlp.fc2', layer.mlp.fc2),
        }
    out = {front + key: value.detach().clone() for key, value in out.items()}
    beside = front.removesuffix('v.')
    out[f'{beside}mlp_head.0.weight'] = torch.randn(DIMS)
    return out
