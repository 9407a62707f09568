# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The Audio Spectrogram Transformer as others publish it, for ASTExpert."""

from .conversion import Rule
from .experts import (
    ExpertLayout,
    expert_source,
    layer_rules,
    leaves,
    qkv_join,
)

_IMAGE_HEAD = 'ImageNet classifier that AST never uses'
_HEAD = 'classifier of the training before'

AST_OFFICIAL = expert_source(
    'ast_official',
    'AST, official code',
    'ast',
    ExpertLayout(
        prefixes=('v.', ''),
        anchors=(
            'dist_token',
            'patch_embed.proj.weight',
            'blocks.0.attn.qkv.weight',
        ),
        rules=(
            Rule('cls_token', 'cls_token'),
            Rule('dist_token', 'dist_token'),
            Rule('pos_embed', 'pos_embed'),
            *leaves('patch_embed.proj', 'patch_embed'),
            *leaves('norm', 'norm'),
            *layer_rules(
                'blocks.{i}',
                norm1='norm1',
                qkv='attn.qkv',
                proj='attn.proj',
                norm2='norm2',
                fc1='mlp.fc1',
                fc2='mlp.fc2',
            ),
        ),
        ignored={'head': _IMAGE_HEAD, 'head_dist': _IMAGE_HEAD},
        outside={'mlp_head': _HEAD},
    ),
)


def _hf(
    layer: str, attention: str, parts: tuple[str, ...], **modules: str
) -> ExpertLayout:
    """One generation of names of Hugging Face."""
    return ExpertLayout(
        prefixes=('audio_spectrogram_transformer.', ''),
        anchors=(
            'embeddings.distillation_token',
            f'{layer}.{attention}.{parts[0]}.weight'.replace('{i}', '0'),
        ),
        rules=(
            Rule('embeddings.cls_token', 'cls_token'),
            Rule('embeddings.distillation_token', 'dist_token'),
            Rule('embeddings.position_embeddings', 'pos_embed'),
            *leaves('embeddings.patch_embeddings.projection', 'patch_embed'),
            *leaves('layernorm', 'norm'),
            *layer_rules(
                layer,
                norm1='layernorm_before',
                norm2='layernorm_after',
                **modules,
            ),
        ),
        joins=tuple(
            qkv_join(layer, kind, [f'{attention}.{p}.{kind}' for p in parts])
            for kind in ('weight', 'bias')
        ),
        outside={'classifier': _HEAD},
    )


AST_HF = expert_source(
    'ast_hf',
    'AST of Hugging Face',
    'ast',
    # Published files, and models in memory since transformers 5.
    _hf(
        'encoder.layer.{i}',
        'attention.attention',
        ('query', 'key', 'value'),
        proj='attention.output.dense',
        fc1='intermediate.dense',
        fc2='output.dense',
    ),
    _hf(
        'layers.{i}',
        'attention',
        ('q_proj', 'k_proj', 'v_proj'),
        proj='attention.o_proj',
        fc1='mlp.fc1',
        fc2='mlp.fc2',
    ),
)
