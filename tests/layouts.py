# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""State dicts of published layouts, and small experts of ours that fit them.

The names are written down here without our conversion: Hugging Face's as its
files hold them, and the others by rules from those.  Live models prove both.
"""

import json
import re
from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / 'shared' / 'reference'
DIMS, DEPTH, HIDDEN = 4, 3, 6
ARCH = dict(
    embed_dims=DIMS,
    num_layers=DEPTH,
    num_heads=2,
    feedforward_channels=HIDDEN,
    patch_size=16,
)
EXPERTS = dict(
    clip=dict(type='CLIPExpert', arch=ARCH, img_size=32, num_frames=2),
    videomae=dict(type='VideoMAEExpert', arch=ARCH, img_size=32, num_frames=4),
    ast=dict(
        type='ASTExpert',
        arch=dict(ARCH, pretrained_mels=46),
        spec_size=(46, 46),
    ),
)
# Per layer, in Hugging Face's words: the norms, the linear layers in the order
# query, key, value, output, and the feed-forward network.
CLIP_LAYER = (
    ('layer_norm1', 'layer_norm2'),
    [f'self_attn.{n}' for n in ('q_proj', 'k_proj', 'v_proj', 'out_proj')],
    ('mlp.fc1', 'mlp.fc2'),
)
VIT_LAYER = (
    ('layernorm_before', 'layernorm_after'),
    [
        f'attention.{n}'
        for n in (
            'attention.query',
            'attention.key',
            'attention.value',
            'output.dense',
        )
    ],
    ('intermediate.dense', 'output.dense'),
)


def _shapes(model, dims, depth, hidden, positions, patch):
    """Shapes in Hugging Face's layout by name."""
    norm, linear = (dims,), (dims, dims)
    layer = VIT_LAYER
    if model == 'clip':
        prefix, layers, layer = 'vision_model.', 'encoder.layers', CLIP_LAYER
        shapes = {
            'embeddings.class_embedding': norm,
            'embeddings.position_embedding.weight': (positions or 5, dims),
            'embeddings.patch_embedding.weight': (dims, 3, patch, patch),
        }
        ends = ('pre_layrnorm', 'post_layernorm')
    else:
        layers, patches = 'encoder.layer', 'embeddings.patch_embeddings'
        shapes = {f'{patches}.projection.bias': norm}
        if model == 'videomae':
            prefix, ends = 'videomae.', ()
            kernel = (dims, 3, 2, patch, patch)
        else:
            prefix, ends = '', ('layernorm',)
            kernel = (dims, 1, patch, patch)
            shapes |= {
                'embeddings.cls_token': (1, 1, dims),
                'embeddings.distillation_token': (1, 1, dims),
                'embeddings.position_embeddings': (1, positions or 18, dims),
            }
        shapes[f'{patches}.projection.weight'] = kernel
    for name in ends:
        shapes |= {f'{name}.weight': norm, f'{name}.bias': norm}
    norms, linears, (fc1, fc2) = layer
    for i in range(depth):
        front = f'{layers}.{i}'
        for name in norms:
            shapes |= dict.fromkeys(
                (f'{front}.{name}.weight', f'{front}.{name}.bias'), norm
            )
        for name in linears:
            shapes[f'{front}.{name}.weight'] = linear
            shapes[f'{front}.{name}.bias'] = norm
        if model == 'videomae':
            attention = f'{front}.attention.attention'
            for name in ('query', 'key', 'value'):
                del shapes[f'{attention}.{name}.bias']
            shapes |= {f'{attention}.{n}_bias': norm for n in 'qv'}
        shapes |= {
            f'{front}.{fc1}.weight': (hidden, dims),
            f'{front}.{fc1}.bias': (hidden,),
            f'{front}.{fc2}.weight': (dims, hidden),
            f'{front}.{fc2}.bias': norm,
        }
    shapes = {prefix + key: shape for key, shape in shapes.items()}
    if model == 'videomae':
        shapes |= {'fc_norm.weight': norm, 'fc_norm.bias': norm}
        shapes |= {'classifier.weight': (5, dims), 'classifier.bias': (5,)}
    return shapes


def renamed(weights, pairs):
    """Replace parts of names, in order."""
    for old, new in pairs:
        weights = {re.sub(old, new, key): v for key, v in weights.items()}
    return weights


def joined(weights, parts, whole):
    """Stack query, key and value of each layer; ``{}`` is 'weight', 'bias'."""
    out = dict(weights)
    for kind in ('weight', 'bias'):
        names = [part.format(kind) for part in parts]
        for key in weights:
            if key.endswith(names[0]):
                front = key.removesuffix(names[0])
                values = [out.pop(front + name) for name in names]
                out[front + whole.format(kind)] = torch.cat(values)
    return out


def clip_openai(weights):
    """CLIP's image tower of Hugging Face in the names of OpenAI."""
    parts = [f'self_attn.{letter}_proj.{{}}' for letter in 'qkv']
    weights = joined(weights, parts, 'attn.in_proj_{}')
    pairs = [
        (r'^vision_model\.', 'visual.'),
        (r'embeddings\.class_', 'class_'),
        (r'embeddings\.position_embedding\.weight', 'positional_embedding'),
        (r'embeddings\.patch_embedding', 'conv1'),
        ('pre_layrnorm', 'ln_pre'),
        ('post_layernorm', 'ln_post'),
        (r'encoder\.layers', 'transformer.resblocks'),
        ('layer_norm', 'ln_'),
        ('self_attn', 'attn'),
        ('fc1', 'c_fc'),
        ('fc2', 'c_proj'),
    ]
    dims = weights['vision_model.post_layernorm.bias'].shape[0]
    weights = {k: v for k, v in weights.items() if k.startswith('vision_mod')}
    return {**renamed(weights, pairs), 'visual.proj': torch.randn(dims, 7)}


_TIMM = [
    (r'embeddings\.patch_embeddings\.projection', 'patch_embed.proj'),
    (r'encoder\.layer', 'blocks'),
    ('layernorm_before', 'norm1'),
    ('layernorm_after', 'norm2'),
    (r'attention\.output\.dense', 'attn.proj'),
    (r'intermediate\.dense', 'mlp.fc1'),
    (r'output\.dense', 'mlp.fc2'),
    (r'attention\.attention', 'attn'),
]
_QKV = [f'attention.attention.{n}.{{}}' for n in ('query', 'key', 'value')]


def videomae_official(weights):
    """VideoMAE of Hugging Face in the names of the official code."""
    weights = {k: v for k, v in weights.items() if 'classifier' not in k}
    weights = joined(weights, _QKV, 'attn.qkv.{}')
    return renamed(weights, [(r'^videomae\.', ''), *_TIMM])


def videomae_mmaction(weights):
    """VideoMAE of Hugging Face in the names of MMAction2."""
    pairs = [
        (r'embed\.proj\b', 'embed.projection'),
        (r'mlp\.fc1', 'mlp.layers.0.0'),
        (r'mlp\.fc2', 'mlp.layers.1'),
    ]
    return renamed(videomae_official(weights), pairs)


def ast_official(weights):
    """AST of Hugging Face in the names of the official code."""
    pairs = [
        (r'^audio_spectrogram_transformer\.', ''),
        (r'embeddings\.cls_token', 'cls_token'),
        (r'embeddings\.distillation_token', 'dist_token'),
        (r'embeddings\.position_embeddings', 'pos_embed'),
        (r'^layernorm\b', 'norm'),
        *_TIMM,
        ('^', 'v.'),
    ]
    weights = {k: v for k, v in weights.items() if 'classifier' not in k}
    weights = renamed(joined(weights, _QKV, 'attn.qkv.{}'), pairs)
    return {**weights, 'mlp_head.1.bias': torch.randn(5)}


OTHERS = dict(
    clip_openai=clip_openai,
    videomae_official=videomae_official,
    videomae_mmaction=videomae_mmaction,
    ast_official=ast_official,
)
NAMES = sorted([*OTHERS, 'clip_hf', 'videomae_hf', 'ast_hf'])


def published(
    source,
    dtype=torch.float32,
    dims=DIMS,
    depth=DEPTH,
    hidden=HIDDEN,
    positions=None,
    patch=16,
):
    """A random state dict of the layout that a source is named after."""
    model = source.partition('_')[0]
    shapes = _shapes(model, dims, depth, hidden, positions, patch)
    weights = {key: torch.randn(shape) for key, shape in shapes.items()}
    if source in OTHERS:
        weights = OTHERS[source](weights)
    return {key: value.to(dtype) for key, value in weights.items()}


def reference_weights(name, dtype=torch.float32):
    """Random tensors by the authors' names, of a size that tests can bear."""
    path = SHARED / f'keys_{name}.json'
    if not path.is_file():
        pytest.skip(f'key lists of the reference models not at {SHARED}')
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.randn(
            [min(side, 12) for side in shape], generator=generator
        ).to(dtype)
        for key, shape in json.loads(path.read_text()).items()
    }


def run_expert(expert, inputs):
    """What an expert of ours computes, by the stage."""
    with torch.no_grad():
        tokens = expert.embed(inputs)
        out = dict(embed=tokens.flatten(1, 2))
        for layer in range(expert.num_layers):
            tokens = expert.forward_attn(tokens, layer)
            tokens = expert.forward_ffn(tokens, layer)
            if layer == 0:
                out['layer0'] = tokens.flatten(1, 2)
        out['pooled'] = expert.pool(tokens)
        if type(expert).__name__ == 'ASTExpert':
            tokens = expert.norm(tokens)
    return dict(out, last_hidden_state=tokens.flatten(1, 2))
