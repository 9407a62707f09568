# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Experts as others publish them; all layouts that we read."""

import re
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from .conversion import Conversion, Layout
from .reference import REFERENCES


def _take_ours(theirs: Conversion, _: str) -> None:
    theirs.state_dict, theirs.left = theirs.left, {}
    theirs.origins = {key: (key,) for key in theirs.state_dict}


_OUR_LAYER = re.compile(r'(.+\.)?layers\.\d+\.attention\.attn\.qkv\.weight')
OURS = Layout(
    'ca2st_mm',
    'ca2st_mm',
    'any',
    lambda keys: '' if any(map(_OUR_LAYER.fullmatch, keys)) else None,
    _take_ours,
)
LAYOUTS = {layout.name: layout for layout in (OURS, *REFERENCES)}


def _layout_of_expert(
    name: str,
    title: str,
    prefixes: Sequence[str],
    there: Sequence[str],
    absent: Sequence[str] = (),
) -> Callable:
    """Add a layout with the decorated function as its ``take``.

    Its prefix is the first under which some names are there, and others not.
    """

    def find_prefix(keys: Collection[str]) -> str | None:
        for prefix in prefixes:
            if all(prefix + key in keys for key in there) and not any(
                prefix + key in keys for key in absent
            ):
                return prefix
        return None

    def add(take: Callable[[Conversion, str], None]) -> Callable:
        model = name.partition('_')[0]
        LAYOUTS[name] = Layout(name, title, model, find_prefix, take, True)
        return take

    return add


# What timm and Hugging Face call the parts of a layer.
_TIMM = dict(
    norm1='norm1',
    proj='attn.proj',
    norm2='norm2',
    fc1='mlp.fc1',
    fc2='mlp.fc2',
)
_HF = dict(
    norm1='layernorm_before',
    proj='attention.output.dense',
    norm2='layernorm_after',
    fc1='intermediate.dense',
    fc2='output.dense',
)
_HF_QKV = [f'attention.attention.{n}.{{}}' for n in ('query', 'key', 'value')]

_TEXT = 'text tower; the expert sees images only'
_LOSS = 'temperature or bias of the contrastive loss'
_JOINT = 'projection into the space shared with text; ours stops before it'
_ACTIVATION = (
    'names do not tell the activation: CLIPExpert uses quick GELU, as '
    "OpenAI trained; give arch the entry activation='gelu' for weights "
    "trained with GELU (hidden_act 'gelu', or OpenCLIP models without "
    "'quickgelu' in their name)"
)


@_layout_of_expert(
    'clip_openai',
    'OpenAI CLIP or OpenCLIP',
    ('visual.', ''),
    ('class_embedding', 'conv1.weight', 'ln_pre.weight'),
)
def _take_clip_openai(theirs: Conversion, p: str) -> None:
    theirs.take('cls_token', f'{p}class_embedding', new_axes=2)
    theirs.take('pos_embed', f'{p}positional_embedding', new_axes=1)
    theirs.take('patch_embed.weight', f'{p}conv1.weight')
    theirs.take_module('pre_norm', f'{p}ln_pre')
    theirs.take_module('norm', f'{p}ln_post')
    theirs.take_layers(
        f'{p}transformer.resblocks.',
        ['attn.in_proj_{}'],
        norm1='ln_1',
        proj='attn.out_proj',
        norm2='ln_2',
        fc1='mlp.c_fc',
        fc2='mlp.c_proj',
    )
    theirs.leave_out(_JOINT, f'{p}proj')
    theirs.notes.append(_ACTIVATION)
    if not p:
        return
    theirs.leave_out(
        _TEXT,
        'text',  # all of it, in OpenCLIP's newer class
        'transformer',
        'token_embedding',
        'positional_embedding',
        'ln_final',
        'text_projection',
        'attn_mask',
    )
    theirs.leave_out(_LOSS, 'logit_scale', 'logit_bias')
    theirs.leave_out(
        'a setting that the archive keeps next to the weights',
        'input_resolution',
        'context_length',
        'vocab_size',
    )


@_layout_of_expert(
    'clip_hf',
    'CLIP of Hugging Face',
    ('vision_model.', ''),
    (
        'embeddings.class_embedding',
        'embeddings.patch_embedding.weight',
        'pre_layrnorm.weight',
    ),
)
def _take_clip_hf(theirs: Conversion, p: str) -> None:
    embeddings = f'{p}embeddings'
    theirs.take('cls_token', f'{embeddings}.class_embedding', new_axes=2)
    theirs.take(
        'pos_embed', f'{embeddings}.position_embedding.weight', new_axes=1
    )
    theirs.take('patch_embed.weight', f'{embeddings}.patch_embedding.weight')
    theirs.take_module('pre_norm', f'{p}pre_layrnorm')
    theirs.take_module('norm', f'{p}post_layernorm')
    theirs.take_layers(
        f'{p}encoder.layers.',
        [f'self_attn.{letter}_proj.{{}}' for letter in 'qkv'],
        norm1='layer_norm1',
        proj='self_attn.out_proj',
        norm2='layer_norm2',
        fc1='mlp.fc1',
        fc2='mlp.fc2',
    )
    theirs.leave_out('an index table, no weight', f'{embeddings}.position_ids')
    theirs.notes.append(_ACTIVATION)
    if p:
        theirs.leave_out(_TEXT, 'text_model', 'text_projection')
        theirs.leave_out(_JOINT, 'visual_projection')
        theirs.leave_out(_LOSS, 'logit_scale')


_DECODER = 'decoder of the masked pre-training'
_SINUSOID = 'sinusoid table; ours is computed'
# The reference code, too, leaves it out for CAST.
_TOKEN_NORM = (
    'norm over single tokens; ours follows the pooling and is another one'
)


def _require_sinusoid(table: Tensor) -> None:
    """Position 0 of a sinusoid table is 0, 1, 0, 1, ...; exactly."""
    first = table.flatten(0, -2)[0]
    if first[0::2].any() or (first[1::2] != 1).any():
        raise ValueError(
            "'pos_embed' is not VideoMAE's sinusoid table but a learned one, "
            'which VideoMAEExpert cannot hold'
        )


def _take_videomae(
    theirs: Conversion, p: str, patch_embed: str, fc1: str, fc2: str
) -> None:
    """What the official code and MMAction2 have in common."""
    theirs.take_module('patch_embed', f'{p}{patch_embed}')
    biases = ('attn.q_bias', 'attn.k_bias', 'attn.v_bias')
    joint = f'{p}blocks.0.attn.qkv.bias' in theirs.left
    modules = dict(_TIMM, fc1=fc1, fc2=fc2)
    theirs.take_layers(
        f'{p}blocks.', ['attn.qkv.{}'], None if joint else biases, **modules
    )
    if f'{p}fc_norm.weight' in theirs.left:
        theirs.take_module('norm', f'{p}fc_norm')
    if f'{p}pos_embed' in theirs.left:
        _require_sinusoid(theirs.left[f'{p}pos_embed'])
    theirs.leave_out(_TOKEN_NORM, f'{p}norm')
    theirs.leave_out(_SINUSOID, f'{p}pos_embed')


@_layout_of_expert(
    'videomae_official',
    'VideoMAE or VideoMAE V2, official code',
    ('encoder.', 'backbone.', ''),
    (
        'patch_embed.proj.weight',
        'blocks.0.attn.qkv.weight',
        'blocks.0.mlp.fc1.weight',
    ),
    absent=('cls_token', 'clip_conv1.weight'),
)
def _take_videomae_official(theirs: Conversion, p: str) -> None:
    _take_videomae(theirs, p, 'patch_embed.proj', 'mlp.fc1', 'mlp.fc2')
    theirs.leave_head(fc_cls=f'{p}head')
    if p:
        theirs.leave_out(
            _DECODER, 'decoder', 'encoder_to_decoder', 'mask_token'
        )
        theirs.leave_out(_SINUSOID, 'pos_embed')
        theirs.leave_head(fc_cls='head')


@_layout_of_expert(
    'videomae_mmaction',
    'VideoMAE of MMAction2',
    ('backbone.', ''),
    (
        'patch_embed.projection.weight',
        'blocks.0.attn.qkv.weight',
        'blocks.0.mlp.layers.0.0.weight',
    ),
    absent=('cls_token',),
)
def _take_videomae_mmaction(theirs: Conversion, p: str) -> None:
    _take_videomae(
        theirs, p, 'patch_embed.projection', 'mlp.layers.0.0', 'mlp.layers.1'
    )
    if p:
        theirs.leave_head(fc_cls='cls_head.fc_cls')


@_layout_of_expert(
    'videomae_hf',
    'VideoMAE of Hugging Face',
    ('videomae.', ''),
    (
        'embeddings.patch_embeddings.projection.weight',
        'encoder.layer.0.attention.attention.query.weight',
    ),
    absent=('embeddings.cls_token',),
)
def _take_videomae_hf(theirs: Conversion, p: str) -> None:
    theirs.take_module(
        'patch_embed', f'{p}embeddings.patch_embeddings.projection'
    )
    layers, attention = f'{p}encoder.layer.', 'attention.attention'
    # In memory 'query.bias', on disk 'q_bias'; 'key.bias' in both.
    letters = ('query.bias', 'key.bias', 'value.bias')
    if f'{layers}0.{attention}.query.bias' not in theirs.left:
        letters = ('q_bias', 'key.bias', 'v_bias')
    biases = tuple(f'{attention}.{letter}' for letter in letters)
    theirs.take_layers(layers, _HF_QKV, biases, **_HF)
    theirs.leave_out(_TOKEN_NORM, f'{p}layernorm')
    if p:
        if 'fc_norm.weight' in theirs.left:
            theirs.take_module('norm', 'fc_norm')
        theirs.leave_out(
            _DECODER, 'decoder', 'encoder_to_decoder', 'mask_token'
        )
        theirs.leave_head(fc_cls='classifier')


@_layout_of_expert(
    'ast_official',
    'AST, official code',
    ('v.', ''),
    ('dist_token', 'patch_embed.proj.weight', 'blocks.0.attn.qkv.weight'),
)
def _take_ast_official(theirs: Conversion, p: str) -> None:
    for name in ('cls_token', 'dist_token', 'pos_embed'):
        theirs.take(name, f'{p}{name}')
    theirs.take_module('patch_embed', f'{p}patch_embed.proj')
    theirs.take_module('norm', f'{p}norm')
    theirs.take_layers(f'{p}blocks.', ['attn.qkv.{}'], **_TIMM)
    theirs.leave_out(
        'ImageNet classifier that AST never uses', f'{p}head', f'{p}head_dist'
    )
    if p:
        theirs.leave_head(norm='mlp_head.0', fc_cls='mlp_head.1')


@_layout_of_expert(
    'ast_hf',
    'AST of Hugging Face',
    ('audio_spectrogram_transformer.', ''),
    ('embeddings.distillation_token',),
)
def _take_ast_hf(theirs: Conversion, p: str) -> None:
    embeddings = f'{p}embeddings'
    theirs.take('cls_token', f'{embeddings}.cls_token')
    theirs.take('dist_token', f'{embeddings}.distillation_token')
    theirs.take('pos_embed', f'{embeddings}.position_embeddings')
    theirs.take_module(
        'patch_embed', f'{embeddings}.patch_embeddings.projection'
    )
    theirs.take_module('norm', f'{p}layernorm')
    # Models in memory since transformers 5, else files and older ones.
    if f'{p}layers.0.attention.q_proj.weight' in theirs.left:
        qkv = [f'attention.{letter}_proj.{{}}' for letter in 'qkv']
        new = dict(proj='attention.o_proj', fc1='mlp.fc1', fc2='mlp.fc2')
        theirs.take_layers(f'{p}layers.', qkv, **{**_HF, **new})
    else:
        theirs.take_layers(f'{p}encoder.layer.', _HF_QKV, **_HF)
    if p:
        theirs.leave_head(
            norm='classifier.layernorm', fc_cls='classifier.dense'
        )


@_layout_of_expert(
    'beats',
    'BEATs, official code',
    ('',),
    (
        'patch_embedding.weight',
        'encoder.pos_conv.0.weight_g',
        'encoder.layers.0.self_attn.relative_attention_bias.weight',
    ),
)
def _take_beats(theirs: Conversion, _: str) -> None:
    theirs.take('patch_embed.weight', 'patch_embedding.weight')
    theirs.take_module('patch_norm', 'layer_norm')
    theirs.take_module('patch_proj', 'post_extract_proj')
    theirs.take_module('pre_norm', 'encoder.layer_norm')
    conv, weight = 'encoder.pos_conv.0', 'pos_conv.parametrizations.weight'
    theirs.take('pos_conv.bias', f'{conv}.bias')
    theirs.take(f'{weight}.original0', f'{conv}.weight_g')
    theirs.take(f'{weight}.original1', f'{conv}.weight_v')
    layers = theirs.layers('encoder.layers.')
    tables = [
        f'encoder.layers.{i}.self_attn.relative_attention_bias.weight'
        for i in layers
    ]
    first = theirs.left[tables[0]]
    if not all(torch.equal(theirs.left.get(t, first), first) for t in tables):
        raise ValueError(
            'the layers have several tables of positions, which BEATsExpert '
            'cannot hold'
        )
    theirs.take('position_bias.weight', tables[0])
    theirs.leave_out('table of layer 0 again', *tables)
    for i in layers:
        attn = f'encoder.layers.{i}.self_attn'
        ours = f'layers.{i}.attention.attn'
        theirs.take_module(f'{ours}.gate', f'{attn}.grep_linear')
        theirs.take(f'{ours}.gate_scale', f'{attn}.grep_a')
    theirs.take_layers(
        'encoder.layers.',
        [f'self_attn.{letter}_proj.{{}}' for letter in 'qkv'],
        norm1='self_attn_layer_norm',
        proj='self_attn.out_proj',
        norm2='final_layer_norm',
        fc1='fc1',
        fc2='fc2',
    )
    theirs.leave_out(
        'classifier; its classes are label_dict of the file', 'predictor'
    )


def detect_layout(keys: Collection[str]) -> Layout:
    """Tell by its names which layout a state dict is of.

    Args:
        keys: The state dict, or its keys.

    Raises:
        ValueError: If no layout fits, or more than one.

    Example:
        >>> detect_layout(['layers.0.attention.attn.qkv.weight']).name
        'ca2st_mm'
    """
    keys = set(keys)
    found = [layout for layout in LAYOUTS.values() if layout.matches(keys)]
    if len(found) == 1:
        return found[0]
    first = ', '.join(repr(key) for key in sorted(keys)[:3])
    if found:
        names = ' and '.join(layout.name for layout in found)
        raise ValueError(
            f'the names fit {names} at once (first keys: {first}); choose '
            'one of them'
        )
    raise ValueError(
        f'the names fit no known layout (first keys: {first}); known are '
        f'{", ".join(LAYOUTS)}'
    )
