# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Experts as others publish them; all layouts that we read.

The libraries have different words for the same parts, but no word of two
meanings, so that one table translates all of them.
"""

import re
from collections.abc import Callable, Collection

import torch

from .conversion import Conversion, Layout
from .reference import REFERENCES

# Parts of a layer by our name, in the words of others.
LAYER = """
attention.norm       norm1 ln_1 layer_norm1 layernorm_before
attention.norm       self_attn_layer_norm
attention.attn.qkv   attn.qkv attn.in_proj
attention.attn.q     attn.q attention.attention.q attention.attention.query
attention.attn.q     self_attn.q_proj attention.q_proj
attention.attn.k     attn.k attention.attention.key
attention.attn.k     self_attn.k_proj attention.k_proj
attention.attn.v     attn.v attention.attention.v attention.attention.value
attention.attn.v     self_attn.v_proj attention.v_proj
attention.attn.proj  attn.proj attn.out_proj attention.output.dense
attention.attn.proj  self_attn.out_proj attention.o_proj
attention.attn.gate  self_attn.grep_linear
attention.attn.gate_scale  self_attn.grep_a
ffn.norm             norm2 ln_2 layer_norm2 layernorm_after final_layer_norm
ffn.fc1              mlp.fc1 mlp.c_fc mlp.layers.0.0 intermediate.dense fc1
ffn.fc2              mlp.fc2 mlp.c_proj mlp.layers.1 output.dense fc2
"""
# What stands around the layers.
AROUND = """
cls_token    cls_token class_embedding embeddings.class_embedding
cls_token    embeddings.cls_token
dist_token   dist_token embeddings.distillation_token
pos_embed    pos_embed positional_embedding embeddings.position_embeddings
pos_embed    embeddings.position_embedding.weight
patch_embed  patch_embed.proj patch_embed.projection conv1 patch_embedding
patch_embed  embeddings.patch_embedding embeddings.patch_embeddings.projection
pre_norm     ln_pre pre_layrnorm encoder.layer_norm
norm         norm fc_norm ln_post post_layernorm layernorm
patch_norm   layer_norm
patch_proj   post_extract_proj
pos_conv     encoder.pos_conv.0
pos_conv.parametrizations.weight.original0  encoder.pos_conv.0.weight_g
pos_conv.parametrizations.weight.original1  encoder.pos_conv.0.weight_v
position_bias  encoder.layers.0.self_attn.relative_attention_bias
"""
_IN_LAYER = re.compile(
    r'(?:transformer\.resblocks|encoder\.layers?|blocks|layers)\.(\d+)\.(.+)'
)


def _by_word(table: str) -> dict[str, str]:
    rows = (line.split() for line in table.strip().splitlines())
    return {word: ours for ours, *words in rows for word in words}


_LAYER_WORDS, _AROUND_WORDS = _by_word(LAYER), _by_word(AROUND)


def our_name(key: str) -> str | None:
    """Our name of a tensor that others published; None if there is none.

    Example:
        >>> our_name('transformer.resblocks.3.ln_1.weight')
        'layers.3.attention.norm.weight'
    """
    key = re.sub(r'_(weight|bias)$', r'.\1', key)  # in_proj_weight, q_bias
    places = [('', key, _AROUND_WORDS)]
    if match := _IN_LAYER.fullmatch(key):
        places.append((f'layers.{match[1]}.', match[2], _LAYER_WORDS))
    for front, rest, words in places:
        module, _, kind = rest.rpartition('.')
        if rest in words:
            return front + words[rest]
        if module in words and kind in ('weight', 'bias'):
            return f'{front}{words[module]}.{kind}'
    return None


def clip(theirs: Conversion, p: str) -> None:
    """CLIP's image encoder; the text encoder is left out."""
    theirs.notes.append(
        'names do not tell the activation: CLIPExpert uses quick GELU, as '
        "OpenAI trained; give arch activation='gelu' for weights trained with "
        'it'
    )
    projection = 'projection into the space shared with text'
    theirs.leave_out(projection, f'{p}proj visual_projection')
    theirs.leave_out('an index table', f'{p}embeddings.position_ids')
    if p:
        theirs.leave_out(
            'text encoder, loss and settings; the expert sees images only',
            'text text_model transformer token_embedding positional_embedding '
            'ln_final text_projection attn_mask logit_scale logit_bias '
            'input_resolution context_length vocab_size',
        )
    translate(theirs, p)


def videomae(theirs: Conversion, p: str) -> None:
    """VideoMAE, pre-trained or fine-tuned."""
    table = f'{p}pos_embed'
    if table in theirs.left:
        # Position 0 of a sinusoid table is 0, 1, 0, 1, ...; exactly.
        first = theirs.left[table].flatten(0, -2)[0]
        if first[0::2].any() or (first[1::2] != 1).any():
            raise ValueError(
                "'pos_embed' is not VideoMAE's sinusoid table but a learned "
                'one, which VideoMAEExpert cannot hold'
            )
    theirs.leave_out('sinusoid table; ours is computed', f'{table} pos_embed')
    # The reference code, too, leaves it out for CAST.
    theirs.leave_out(
        'norm over single tokens; ours follows the pooling and is another one',
        f'{p}norm {p}layernorm',
    )
    theirs.leave_out(
        'decoder of the masked pre-training',
        'decoder encoder_to_decoder mask_token',
    )
    heads = f'{p}head head classifier cls_head.fc_cls'
    theirs.leave_head('fc_cls', heads)
    translate(theirs, p)


def ast(theirs: Conversion, p: str) -> None:
    """AST, which is made of a ViT of timm."""
    theirs.leave_out(
        'ImageNet classifier that AST never uses', f'{p}head {p}head_dist'
    )
    theirs.leave_head('norm', 'mlp_head.0 classifier.layernorm')
    theirs.leave_head('fc_cls', 'mlp_head.1 classifier.dense')
    translate(theirs, p)


def beats(theirs: Conversion, p: str) -> None:
    """BEATs; the config in its file is checked by the expert."""
    bias = 'self_attn.relative_attention_bias.weight'
    first, *others = (key for key in theirs.left if key.endswith(bias))
    for other in others:
        if not torch.equal(theirs.left[other], theirs.left[first]):
            raise ValueError(
                'the layers have several tables of positions, which '
                'BEATsExpert cannot hold'
            )
    theirs.leave_out('table of layer 0 again', ' '.join(others))
    theirs.leave_out(
        'classifier; its classes are label_dict of the file', 'predictor'
    )
    translate(theirs, p)


def translate(theirs: Conversion, prefix: str) -> None:
    """Give our names to the tensors of an expert."""
    theirs.translate(lambda key: our_name(key.removeprefix(prefix)))


def _expert(
    name: str,
    take: Callable[[Conversion, str], None],
    prefixes: str,
    there: str,
    absent: str = '-',
) -> Layout:
    """A layout told by names that stand under a prefix, and one that must not.

    No prefix comes last.
    """

    def find_prefix(keys: Collection[str]) -> str | None:
        for prefix in (*prefixes.split(), ''):
            if prefix + absent not in keys and all(
                prefix + key in keys for key in there.split()
            ):
                return prefix
        return None

    return Layout(name, find_prefix, take, is_expert=True)


_OURS = re.compile(r'(.+\.)?layers\.\d+\.attention\.attn\.qkv\.weight')
OURS = Layout(
    'ca2st_mm',
    lambda keys: '' if any(map(_OURS.fullmatch, keys)) else None,
    Conversion.take_all,
)
_LAYOUTS = (
    OURS,
    *REFERENCES,
    _expert('clip_openai', clip, 'visual.', 'class_embedding ln_pre.weight'),
    _expert(
        'clip_hf',
        clip,
        'vision_model.',
        'embeddings.class_embedding pre_layrnorm.weight',
    ),
    _expert('ast_official', ast, 'v.', 'dist_token patch_embed.proj.weight'),
    _expert(
        'ast_hf',
        ast,
        'audio_spectrogram_transformer.',
        'embeddings.distillation_token',
    ),
    _expert(
        'videomae_official',
        videomae,
        'encoder. backbone.',
        'patch_embed.proj.weight blocks.0.mlp.fc1.weight',
        absent='cls_token',
    ),
    _expert(
        'videomae_mmaction',
        videomae,
        'backbone.',
        'patch_embed.projection.weight blocks.0.mlp.layers.0.0.weight',
        absent='cls_token',
    ),
    _expert(
        'videomae_hf',
        videomae,
        'videomae.',
        'embeddings.patch_embeddings.projection.weight '
        'encoder.layer.0.attention.attention.query.weight',
        absent='embeddings.cls_token',
    ),
    _expert(
        'beats',
        beats,
        '',
        'patch_embedding.weight encoder.pos_conv.0.weight_g '
        'encoder.layers.0.self_attn.relative_attention_bias.weight',
    ),
)
LAYOUTS = {layout.name: layout for layout in _LAYOUTS}


def detect_layout(keys: Collection[str]) -> Layout:
    """Tell by its names which layout a state dict is of.

    Raises:
        ValueError: If no layout fits.

    Example:
        >>> detect_layout(['layers.0.attention.attn.qkv.weight']).name
        'ca2st_mm'
    """
    for layout in LAYOUTS.values():
        if layout.find_prefix(keys) is not None:
            return layout
    raise ValueError(
        'the names fit no known layout (first keys: '
        f'{", ".join(map(repr, sorted(keys)[:3]))}); known are '
        f'{", ".join(LAYOUTS)}'
    )
