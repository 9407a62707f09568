# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""VideoMAE as others publish it, for our VideoMAEExpert."""

from collections.abc import Mapping

from torch import Tensor

from .conversion import Conversion, Source, Tensors, find_prefix

_DECODER = 'decoder of the masked pre-training'
# The reference code, too, leaves it out for CAST.
_TOKEN_NORM = (
    'norm over single tokens; ours follows the pooling and is another one'
)
_SINUSOID = 'sinusoid table; ours is computed'
_IGNORED = {
    'decoder': _DECODER,
    'encoder_to_decoder': _DECODER,
    'mask_token': _DECODER,
}


def _require_sinusoid(table: Tensor) -> None:
    """Position 0 of a sinusoid table is 0, 1, 0, 1, ...; exactly.

    Raises:
        ValueError: If the positions were learned.
    """
    first = table.flatten(0, -2)[0]
    if first[0::2].any() or (first[1::2] != 1).any():
        raise ValueError(
            "'pos_embed' is not VideoMAE's sinusoid table but a learned one, "
            'which VideoMAEExpert cannot hold'
        )


def _take_official(
    theirs: Tensors, prefix: str, patch_embed: str, fc1: str, fc2: str
) -> None:
    """What official code and MMAction2 have in common."""
    theirs.take_module('patch_embed', f'{prefix}{patch_embed}')
    for i in theirs.layers(f'{prefix}blocks.'):
        layer = f'{prefix}blocks.{i}'
        attn = f'{layer}.attn'
        theirs.take_qkv(i, 'weight', f'{attn}.qkv.weight')
        if f'{attn}.qkv.bias' in theirs.left:
            theirs.take_qkv(i, 'bias', f'{attn}.qkv.bias')
        else:
            biases = [f'{attn}.{letter}_bias' for letter in 'qkv']
            theirs.take_qkv(i, 'bias', *biases, optional=biases[1])
        theirs.take_layer(
            i,
            layer,
            norm1='norm1',
            proj='attn.proj',
            norm2='norm2',
            fc1=fc1,
            fc2=fc2,
        )
    if f'{prefix}fc_norm.weight' in theirs.left:
        theirs.take_module('norm', f'{prefix}fc_norm')
    if f'{prefix}pos_embed' in theirs.left:
        _require_sinusoid(theirs.left[f'{prefix}pos_embed'])
    theirs.leave_out({'norm': _TOKEN_NORM, 'pos_embed': _SINUSOID}, prefix)


def _from_official(weights: Mapping[str, Tensor], prefix: str) -> Conversion:
    theirs = Tensors(weights, VIDEOMAE_OFFICIAL.title)
    _take_official(theirs, prefix, 'patch_embed.proj', 'mlp.fc1', 'mlp.fc2')
    theirs.leave_head(fc_cls=f'{prefix}head')
    if prefix:
        theirs.leave_out({**_IGNORED, 'pos_embed': _SINUSOID})
        theirs.leave_head(fc_cls='head')
    return theirs.converted()


def _from_mmaction(weights: Mapping[str, Tensor], prefix: str) -> Conversion:
    theirs = Tensors(weights, VIDEOMAE_MMACTION.title)
    _take_official(
        theirs,
        prefix,
        'patch_embed.projection',
        'mlp.layers.0.0',
        'mlp.layers.1',
    )
    if prefix:
        theirs.leave_head(fc_cls='cls_head.fc_cls')
    return theirs.converted()


def _from_hf(weights: Mapping[str, Tensor], prefix: str) -> Conversion:
    theirs = Tensors(weights, VIDEOMAE_HF.title)
    theirs.take_module(
        'patch_embed', f'{prefix}embeddings.patch_embeddings.projection'
    )
    for i in theirs.layers(f'{prefix}encoder.layer.'):
        layer = f'{prefix}encoder.layer.{i}'
        attn = f'{layer}.attention.attention'
        names = ('query', 'key', 'value')
        theirs.take_qkv(i, 'weight', *(f'{attn}.{n}.weight' for n in names))
        # In memory 'query.bias', on disk 'q_bias'; 'key.bias' in both.
        biases = [f'{attn}.{name}.bias' for name in names]
        if biases[0] not in theirs.left:
            biases = [f'{attn}.q_bias', biases[1], f'{attn}.v_bias']
        theirs.take_qkv(i, 'bias', *biases, optional=biases[1])
        theirs.take_layer(
            i,
            layer,
            norm1='layernorm_before',
            proj='attention.output.dense',
            norm2='layernorm_after',
            fc1='intermediate.dense',
            fc2='output.dense',
        )
    theirs.leave_out({'layernorm': _TOKEN_NORM}, prefix)
    if prefix:
        if 'fc_norm.weight' in theirs.left:
            theirs.take_module('norm', 'fc_norm')
        theirs.leave_out(_IGNORED)
        theirs.leave_head(fc_cls='classifier')
    return theirs.converted()


VIDEOMAE_OFFICIAL = Source(
    'videomae_official',
    'VideoMAE or VideoMAE V2, official code',
    'videomae',
    lambda keys: find_prefix(
        keys,
        ('encoder.', 'backbone.', ''),
        (
            'patch_embed.proj.weight',
            'blocks.0.attn.qkv.weight',
            'blocks.0.mlp.fc1.weight',
        ),
        absent=('cls_token', 'clip_conv1.weight'),
    ),
    _from_official,
)
VIDEOMAE_MMACTION = Source(
    'videomae_mmaction',
    'VideoMAE of MMAction2',
    'videomae',
    lambda keys: find_prefix(
        keys,
        ('backbone.', ''),
        (
            'patch_embed.projection.weight',
            'blocks.0.attn.qkv.weight',
            'blocks.0.mlp.layers.0.0.weight',
        ),
        absent=('cls_token',),
    ),
    _from_mmaction,
)
VIDEOMAE_HF = Source(
    'videomae_hf',
    'VideoMAE of Hugging Face',
    'videomae',
    lambda keys: find_prefix(
        keys,
        ('videomae.', ''),
        (
            'embeddings.patch_embeddings.projection.weight',
            'encoder.layer.0.attention.attention.query.weight',
        ),
        absent=('embeddings.cls_token',),
    ),
    _from_hf,
)
