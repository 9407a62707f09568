# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CLIP's image tower as others publish it, for our CLIPExpert."""

from .conversion import Rule
from .experts import (
    ExpertLayout,
    expert_source,
    layer_rules,
    leaves,
    qkv_join,
)

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

_TOWER = (
    Rule('class_embedding', 'cls_token', 2),
    Rule('positional_embedding', 'pos_embed', 1),
    Rule('conv1.weight', 'patch_embed.weight'),
    *leaves('ln_pre', 'pre_norm'),
    *leaves('ln_post', 'norm'),
    *layer_rules(
        'transformer.resblocks.{i}',
        norm1='ln_1',
        proj='attn.out_proj',
        norm2='ln_2',
        fc1='mlp.c_fc',
        fc2='mlp.c_proj',
    ),
    *(
        Rule(
            f'transformer.resblocks.{{i}}.attn.in_proj_{kind}',
            f'layers.{{i}}.attention.attn.qkv.{kind}',
        )
        for kind in ('weight', 'bias')
    ),
)
# OpenCLIP's newer class has the text tower under 'text'.
CLIP_OPENAI = expert_source(
    'clip_openai',
    'OpenAI CLIP or OpenCLIP',
    'clip',
    ExpertLayout(
        prefixes=('visual.', ''),
        anchors=('class_embedding', 'conv1.weight', 'ln_pre.weight'),
        rules=_TOWER,
        ignored={'proj': _JOINT},
        outside={
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
        },
    ),
    notes=(_ACTIVATION,),
)

_HF_QKV = tuple(f'self_attn.{letter}_proj' for letter in 'qkv')
_HF_LAYER = 'encoder.layers.{i}'

CLIP_HF = expert_source(
    'clip_hf',
    'CLIP of Hugging Face',
    'clip',
    ExpertLayout(
        prefixes=('vision_model.', ''),
        anchors=(
            'embeddings.class_embedding',
            'embeddings.patch_embedding.weight',
            'pre_layrnorm.weight',
        ),
        rules=(
            Rule('embeddings.class_embedding', 'cls_token', 2),
            Rule('embeddings.position_embedding.weight', 'pos_embed', 1),
            Rule('embeddings.patch_embedding.weight', 'patch_embed.weight'),
            *leaves('pre_layrnorm', 'pre_norm'),
            *leaves('post_layernorm', 'norm'),
            *layer_rules(
                _HF_LAYER,
                norm1='layer_norm1',
                proj='self_attn.out_proj',
                norm2='layer_norm2',
                fc1='mlp.fc1',
                fc2='mlp.fc2',
            ),
        ),
        joins=tuple(
            qkv_join(_HF_LAYER, kind, [f'{m}.{kind}' for m in _HF_QKV])
            for kind in ('weight', 'bias')
        ),
        ignored={'embeddings.position_ids': _INDEX},
        outside={
            'text_model': _TEXT,
            'text_projection': _TEXT,
            'visual_projection': _JOINT,
            'logit_scale': _TEMPERATURE,
        },
    ),
    notes=(_ACTIVATION,),
)
