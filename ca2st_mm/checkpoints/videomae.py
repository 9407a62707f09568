# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""VideoMAE as others publish it, for our VideoMAEExpert."""

from collections.abc import Mapping

from torch import Tensor

from .conversion import Join
from .experts import (
    ExpertLayout,
    expert_source,
    layer_rules,
    leaves,
    qkv_join,
)

_DECODER = 'decoder of the masked pre-training'
_HEAD = 'classifier of the training before'
# The reference code, too, leaves it out for CAST.
_TOKEN_NORM = (
    'norm over single tokens; ours follows the pooling and is another one'
)
_SINUSOID = 'sinusoid table; ours is computed'


def _require_sinusoid(tensors: Mapping[str, Tensor]) -> None:
    """Position 0 of a sinusoid table is 0, 1, 0, 1, ...; exactly.

    Raises:
        ValueError: If the positions were learned.
    """
    table = tensors.get('pos_embed')
    if table is None:
        return
    first = table.flatten(0, -2)[0]
    if first[0::2].any() or (first[1::2] != 1).any():
        raise ValueError(
            "'pos_embed' is not VideoMAE's sinusoid table but a learned one, "
            'which VideoMAEExpert cannot hold'
        )


def _timm_like(
    modules: tuple[str, str, str],
    prefixes: tuple[str, ...],
    ignored: Mapping[str, str],
    outside: Mapping[str, str],
) -> ExpertLayout:
    """The layout of official code; ``modules``: patch embedding, FFN."""
    patch_embed, fc1, fc2 = modules
    layer = 'blocks.{i}'
    return ExpertLayout(
        prefixes=prefixes,
        anchors=(
            f'{patch_embed}.weight',
            'blocks.0.attn.qkv.weight',
            f'blocks.0.{fc1}.weight',
        ),
        absent=('cls_token', 'clip_conv1.weight'),
        rules=(
            *leaves(patch_embed, 'patch_embed'),
            *leaves('fc_norm', 'norm'),
            *layer_rules(
                layer,
                norm1='norm1',
                qkv='attn.qkv',
                proj='attn.proj',
                norm2='norm2',
                fc1=fc1,
                fc2=fc2,
            ),
        ),
        joins=(
            qkv_join(
                layer,
                'bias',
                ('attn.q_bias', 'attn.k_bias', 'attn.v_bias'),
                optional='attn.k_bias',
            ),
        ),
        ignored={'norm': _TOKEN_NORM, 'pos_embed': _SINUSOID, **ignored},
        outside=outside,
        optional=('norm.',),
        check=_require_sinusoid,
    )


VIDEOMAE_OFFICIAL = expert_source(
    'videomae_official',
    'VideoMAE or VideoMAE V2, official code',
    'videomae',
    _timm_like(
        ('patch_embed.proj', 'mlp.fc1', 'mlp.fc2'),
        prefixes=('encoder.', 'backbone.', ''),
        ignored={'head': _HEAD},
        outside={
            'decoder': _DECODER,
            'encoder_to_decoder': _DECODER,
            'mask_token': _DECODER,
            'pos_embed': _SINUSOID,
            'head': _HEAD,
        },
    ),
)

VIDEOMAE_MMACTION = expert_source(
    'videomae_mmaction',
    'VideoMAE of MMAction2',
    'videomae',
    _timm_like(
        ('patch_embed.projection', 'mlp.layers.0.0', 'mlp.layers.1'),
        prefixes=('backbone.', ''),
        ignored={},
        outside={'cls_head': _HEAD},
    ),
)

_HF_LAYER = 'encoder.layer.{i}'
_HF_ATTENTION = 'attention.attention'


def _hf_bias(query: str, value: str) -> Join:
    names = (query, 'key.bias', value)
    return qkv_join(
        _HF_LAYER,
        'bias',
        [f'{_HF_ATTENTION}.{name}' for name in names],
        optional=f'{_HF_ATTENTION}.key.bias',
    )


VIDEOMAE_HF = expert_source(
    'videomae_hf',
    'VideoMAE of Hugging Face',
    'videomae',
    ExpertLayout(
        prefixes=('videomae.', ''),
        anchors=(
            'embeddings.patch_embeddings.projection.weight',
            'encoder.layer.0.attention.attention.query.weight',
        ),
        absent=('embeddings.cls_token',),
        rules=(
            *leaves('embeddings.patch_embeddings.projection', 'patch_embed'),
            *layer_rules(
                _HF_LAYER,
                norm1='layernorm_before',
                proj='attention.output.dense',
                norm2='layernorm_after',
                fc1='intermediate.dense',
                fc2='output.dense',
            ),
        ),
        joins=(
            qkv_join(
                _HF_LAYER,
                'weight',
                [
                    f'{_HF_ATTENTION}.{name}.weight'
                    for name in ('query', 'key', 'value')
                ],
            ),
            # On disk, and in memory.
            _hf_bias('q_bias', 'v_bias'),
            _hf_bias('query.bias', 'value.bias'),
        ),
        ignored={'layernorm': _TOKEN_NORM},
        outside={
            'classifier': _HEAD,
            'decoder': _DECODER,
            'encoder_to_decoder': _DECODER,
            'mask_token': _DECODER,
        },
        outside_rules=tuple(leaves('fc_norm', 'norm')),
        optional=('norm.',),
    ),
)
