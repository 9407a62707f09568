# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CLIP's image tower as others publish it, for our CLIPExpert."""

from collections.abc import Mapping

from torch import Tensor

from .conversion import Conversion, Source, Tensors, find_prefix

_TEXT = 'text tower; the expert sees images only'
_TEMPERATURE = 'temperature or bias of the contrastive loss'
_SETTING = 'a setting that the archive keeps next to the weights'
_JOINT = 'projection into the space shared with text; ours stops before it'
_INDEX = 'an index table, no weight'
_ACTIVATION = (
    'names do not tell the activation: CLIPExpert uses quick GELU, as '
    "OpenAI trained; give arch the entry activation='gelu' for weights "
    "trained with GELU (hidden_act 'gelu', or OpenCLIP models without "
    "'quickgelu' in their name)"
)
_IGNORED_OPENAI = {
    # OpenCLIP's newer class has the text tower under 'text'.
    'text': _TEXT,
    'transformer': _TEXT,
    'token_embedding': _TEXT,
    'positional_embedding': _TEXT,
    'ln_final': _TEXT,
    'text_projection': _TEXT,
    'attn_mask': _TEXT,
    'logit_scale': _TEMPERATURE,
    'logit_bias': _TEMPERATURE,
    'input_resolution': _SETTING,
    'context_length': _SETTING,
    'vocab_size': _SETTING,
}
_IGNORED_HF = {
    'text_model': _TEXT,
    'text_projection': _TEXT,
    'visual_projection': _JOINT,
    'logit_scale': _TEMPERATURE,
}


def _from_openai(weights: Mapping[str, Tensor], prefix: str) -> Conversion:
    theirs = Tensors(weights, CLIP_OPENAI.title)
    theirs.take('cls_token', f'{prefix}class_embedding', new_axes=2)
    theirs.take('pos_embed', f'{prefix}positional_embedding', new_axes=1)
    theirs.take('patch_embed.weight', f'{prefix}conv1.weight')
    theirs.take_module('pre_norm', f'{prefix}ln_pre')
    theirs.take_module('norm', f'{prefix}ln_post')
    blocks = f'{prefix}transformer.resblocks.'
    for i in theirs.layers(blocks):
        for kind in ('weight', 'bias'):
            theirs.take_qkv(i, kind, f'{blocks}{i}.attn.in_proj_{kind}')
        theirs.take_layer(
            i,
            f'{blocks}{i}',
            norm1='ln_1',
            proj='attn.out_proj',
            norm2='ln_2',
            fc1='mlp.c_fc',
            fc2='mlp.c_proj',
        )
    theirs.leave_out({'proj': _JOINT}, prefix)
    if prefix:
        theirs.leave_out(_IGNORED_OPENAI)
    return theirs.converted(_ACTIVATION)


def _from_hf(weights: Mapping[str, Tensor], prefix: str) -> Conversion:
    theirs = Tensors(weights, CLIP_HF.title)
    embeddings = f'{prefix}embeddings'
    theirs.take('cls_token', f'{embeddings}.class_embedding', new_axes=2)
    theirs.take(
        'pos_embed', f'{embeddings}.position_embedding.weight', new_axes=1
    )
    theirs.take('patch_embed.weight', f'{embeddings}.patch_embedding.weight')
    theirs.take_module('pre_norm', f'{prefix}pre_layrnorm')
    theirs.take_module('norm', f'{prefix}post_layernorm')
    for i in theirs.layers(f'{prefix}encoder.layers.'):
        layer = f'{prefix}encoder.layers.{i}'
        for kind in ('weight', 'bias'):
            parts = [f'{layer}.self_attn.{x}_proj.{kind}' for x in 'qkv']
            theirs.take_qkv(i, kind, *parts)
        theirs.take_layer(
            i,
            layer,
            norm1='layer_norm1',
            proj='self_attn.out_proj',
            norm2='layer_norm2',
            fc1='mlp.fc1',
            fc2='mlp.fc2',
        )
    theirs.leave_out({'position_ids': _INDEX}, f'{embeddings}.')
    if prefix:
        theirs.leave_out(_IGNORED_HF)
    return theirs.converted(_ACTIVATION)


CLIP_OPENAI = Source(
    'clip_openai',
    'OpenAI CLIP or OpenCLIP',
    'clip',
    lambda keys: find_prefix(
        keys,
        ('visual.', ''),
        ('class_embedding', 'conv1.weight', 'ln_pre.weight'),
    ),
    _from_openai,
)
CLIP_HF = Source(
    'clip_hf',
    'CLIP of Hugging Face',
    'clip',
    lambda keys: find_prefix(
        keys,
        ('vision_model.', ''),
        (
            'embeddings.class_embedding',
            'embeddings.patch_embedding.weight',
            'pre_layrnorm.weight',
        ),
    ),
    _from_hf,
)
