# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The Audio Spectrogram Transformer as others publish it, for ASTExpert."""

from collections.abc import Mapping

from torch import Tensor

from .conversion import Conversion, Source, Tensors, find_prefix

_IMAGE_HEAD = 'ImageNet classifier that AST never uses'


def _from_official(weights: Mapping[str, Tensor], prefix: str) -> Conversion:
    theirs = Tensors(weights, AST_OFFICIAL.title)
    for name in ('cls_token', 'dist_token', 'pos_embed'):
        theirs.take(name, f'{prefix}{name}')
    theirs.take_module('patch_embed', f'{prefix}patch_embed.proj')
    theirs.take_module('norm', f'{prefix}norm')
    for i in theirs.layers(f'{prefix}blocks.'):
        layer = f'{prefix}blocks.{i}'
        for kind in ('weight', 'bias'):
            theirs.take_qkv(i, kind, f'{layer}.attn.qkv.{kind}')
        theirs.take_layer(
            i,
            layer,
            norm1='norm1',
            proj='attn.proj',
            norm2='norm2',
            fc1='mlp.fc1',
            fc2='mlp.fc2',
        )
    theirs.leave_out({'head': _IMAGE_HEAD, 'head_dist': _IMAGE_HEAD}, prefix)
    if prefix:
        theirs.leave_head(norm='mlp_head.0', fc_cls='mlp_head.1')
    return theirs.converted()


# Published files, and models in memory since transformers 5.
_OLD = dict(
    proj='attention.output.dense', fc1='intermediate.dense', fc2='output.dense'
)
_NEW = dict(proj='attention.o_proj', fc1='mlp.fc1', fc2='mlp.fc2')


def _from_hf(weights: Mapping[str, Tensor], prefix: str) -> Conversion:
    theirs = Tensors(weights, AST_HF.title)
    for name, embedding in dict(
        cls_token='cls_token',
        dist_token='distillation_token',
        pos_embed='position_embeddings',
    ).items():
        theirs.take(name, f'{prefix}embeddings.{embedding}')
    theirs.take_module(
        'patch_embed', f'{prefix}embeddings.patch_embeddings.projection'
    )
    theirs.take_module('norm', f'{prefix}layernorm')
    layers, modules = f'{prefix}layers.', _NEW
    qkv = [f'attention.{letter}_proj' for letter in 'qkv']
    if f'{layers}0.{qkv[0]}.weight' not in weights:
        layers, modules = f'{prefix}encoder.layer.', _OLD
        qkv = [f'attention.attention.{n}' for n in ('query', 'key', 'value')]
    for i in theirs.layers(layers):
        for kind in ('weight', 'bias'):
            parts = [f'{layers}{i}.{name}.{kind}' for name in qkv]
            theirs.take_qkv(i, kind, *parts)
        theirs.take_layer(
            i,
            f'{layers}{i}',
            norm1='layernorm_before',
            norm2='layernorm_after',
            **modules,
        )
    if prefix:
        theirs.leave_head(
            norm='classifier.layernorm', fc_cls='classifier.dense'
        )
    return theirs.converted()


AST_OFFICIAL = Source(
    'ast_official',
    'AST, official code',
    'ast',
    lambda keys: find_prefix(
        keys,
        ('v.', ''),
        ('dist_token', 'patch_embed.proj.weight', 'blocks.0.attn.qkv.weight'),
    ),
    _from_official,
)
AST_HF = Source(
    'ast_hf',
    'AST of Hugging Face',
    'ast',
    lambda keys: find_prefix(
        keys,
        ('audio_spectrogram_transformer.', ''),
        ('embeddings.distillation_token',),
    ),
    _from_hf,
)
