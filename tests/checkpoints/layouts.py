# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Small state dicts of published layouts, random values, no live model."""

import torch

DIMS, DEPTH, HIDDEN = 4, 3, 6


def _norm(name):
    return {f'{name}.weight': (DIMS,), f'{name}.bias': (DIMS,)}


def _linear(name, out, into):
    return {f'{name}.weight': (out, into), f'{name}.bias': (out,)}


def _shapes_of_timm_blocks(fc1, fc2):
    shapes = {}
    for i in range(DEPTH):
        front = f'blocks.{i}'
        shapes |= {
            **_norm(f'{front}.norm1'),
            **_norm(f'{front}.norm2'),
            f'{front}.attn.qkv.weight': (3 * DIMS, DIMS),
            **_linear(f'{front}.attn.proj', DIMS, DIMS),
            **_linear(f'{front}.{fc1}', HIDDEN, DIMS),
            **_linear(f'{front}.{fc2}', DIMS, HIDDEN),
        }
    return shapes


def _videomae(patch_embed, fc1, fc2):
    shapes = _shapes_of_timm_blocks(fc1, fc2)
    for i in range(DEPTH):
        shapes[f'blocks.{i}.attn.q_bias'] = (DIMS,)
        shapes[f'blocks.{i}.attn.v_bias'] = (DIMS,)
    shapes[f'{patch_embed}.weight'] = (DIMS, 3, 2, 16, 16)
    shapes[f'{patch_embed}.bias'] = (DIMS,)
    return {**shapes, **_norm('fc_norm')}


def _clip_openai():
    shapes = {
        'class_embedding': (DIMS,),
        'positional_embedding': (5, DIMS),
        'conv1.weight': (DIMS, 3, 16, 16),
        'proj': (DIMS, 7),
        **_norm('ln_pre'),
        **_norm('ln_post'),
    }
    for i in range(DEPTH):
        front = f'transformer.resblocks.{i}'
        shapes |= {
            **_norm(f'{front}.ln_1'),
            **_norm(f'{front}.ln_2'),
            f'{front}.attn.in_proj_weight': (3 * DIMS, DIMS),
            f'{front}.attn.in_proj_bias': (3 * DIMS,),
            **_linear(f'{front}.attn.out_proj', DIMS, DIMS),
            **_linear(f'{front}.mlp.c_fc', HIDDEN, DIMS),
            **_linear(f'{front}.mlp.c_proj', DIMS, HIDDEN),
        }
    return {f'visual.{key}': shape for key, shape in shapes.items()}


def _clip_hf():
    shapes = {
        'embeddings.class_embedding': (DIMS,),
        'embeddings.position_embedding.weight': (5, DIMS),
        'embeddings.patch_embedding.weight': (DIMS, 3, 16, 16),
        **_norm('pre_layrnorm'),
        **_norm('post_layernorm'),
    }
    for i in range(DEPTH):
        front = f'encoder.layers.{i}'
        shapes |= {
            **_norm(f'{front}.layer_norm1'),
            **_norm(f'{front}.layer_norm2'),
            **_linear(f'{front}.self_attn.q_proj', DIMS, DIMS),
            **_linear(f'{front}.self_attn.k_proj', DIMS, DIMS),
            **_linear(f'{front}.self_attn.v_proj', DIMS, DIMS),
            **_linear(f'{front}.self_attn.out_proj', DIMS, DIMS),
            **_linear(f'{front}.mlp.fc1', HIDDEN, DIMS),
            **_linear(f'{front}.mlp.fc2', DIMS, HIDDEN),
        }
    return {f'vision_model.{key}': shape for key, shape in shapes.items()}


def _hf_layer(front):
    attention = f'{front}.attention.attention'
    return {
        **_norm(f'{front}.layernorm_before'),
        **_norm(f'{front}.layernorm_after'),
        f'{attention}.query.weight': (DIMS, DIMS),
        f'{attention}.key.weight': (DIMS, DIMS),
        f'{attention}.value.weight': (DIMS, DIMS),
        **_linear(f'{front}.attention.output.dense', DIMS, DIMS),
        **_linear(f'{front}.intermediate.dense', HIDDEN, DIMS),
        **_linear(f'{front}.output.dense', DIMS, HIDDEN),
    }


def _videomae_hf():
    patches = 'embeddings.patch_embeddings.projection'
    shapes = {
        f'{patches}.weight': (DIMS, 3, 2, 16, 16),
        f'{patches}.bias': (DIMS,),
    }
    for i in range(DEPTH):
        attention = f'encoder.layer.{i}.attention.attention'
        shapes |= {
            **_hf_layer(f'encoder.layer.{i}'),
            f'{attention}.q_bias': (DIMS,),
            f'{attention}.v_bias': (DIMS,),
        }
    shapes = {f'videomae.{key}': shape for key, shape in shapes.items()}
    return {**shapes, **_norm('fc_norm'), **_linear('classifier', 5, DIMS)}


def _ast_hf():
    patches = 'embeddings.patch_embeddings.projection'
    shapes = {
        'embeddings.cls_token': (1, 1, DIMS),
        'embeddings.distillation_token': (1, 1, DIMS),
        'embeddings.position_embeddings': (1, 18, DIMS),
        f'{patches}.weight': (DIMS, 1, 16, 16),
        f'{patches}.bias': (DIMS,),
        **_norm('layernorm'),
    }
    for i in range(DEPTH):
        attention = f'encoder.layer.{i}.attention.attention'
        shapes |= _hf_layer(f'encoder.layer.{i}')
        for part in ('query', 'key', 'value'):
            shapes[f'{attention}.{part}.bias'] = (DIMS,)
    return shapes


def _ast_official():
    shapes = {
        'cls_token': (1, 1, DIMS),
        'dist_token': (1, 1, DIMS),
        'pos_embed': (1, 18, DIMS),
        'patch_embed.proj.weight': (DIMS, 1, 16, 16),
        'patch_embed.proj.bias': (DIMS,),
        **_norm('norm'),
        **_shapes_of_timm_blocks('mlp.fc1', 'mlp.fc2'),
    }
    for i in range(DEPTH):
        shapes[f'blocks.{i}.attn.qkv.bias'] = (3 * DIMS,)
    shapes = {f'v.{key}': shape for key, shape in shapes.items()}
    return {**shapes, **_linear('mlp_head.1', 5, DIMS)}


SHAPES = dict(
    clip_openai=_clip_openai(),
    clip_hf=_clip_hf(),
    videomae_official=_videomae('patch_embed.proj', 'mlp.fc1', 'mlp.fc2'),
    videomae_mmaction=_videomae(
        'patch_embed.projection', 'mlp.layers.0.0', 'mlp.layers.1'
    ),
    videomae_hf=_videomae_hf(),
    ast_official=_ast_official(),
    ast_hf=_ast_hf(),
)


def published(source, dtype=torch.float32):
    """A random state dict of the layout that a source is named after."""
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.randn(shape, generator=generator).to(dtype)
        for key, shape in SHAPES[source].items()
    }
