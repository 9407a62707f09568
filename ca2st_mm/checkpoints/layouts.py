# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Experts as others publish them; all layouts that we read.

The libraries have different words for the same parts, but no word of two
meanings, so that one table, ``experts.csv``, translates all of them.
"""

import csv
from collections.abc import Collection
from pathlib import Path

import torch

from .conversion import Conversion, Layout
from .reference import REFERENCES

with Path(__file__).with_name('experts.csv').open(newline='') as file:
    NAMES = {
        theirs: row['ours']
        for row in csv.DictReader(file)
        for theirs in row['theirs'].split()
    }


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
    theirs.translate(NAMES, p)


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
    theirs.translate(NAMES, p)


def ast(theirs: Conversion, p: str) -> None:
    """AST, which is made of a ViT of timm."""
    theirs.leave_out(
        'ImageNet classifier that AST never uses', f'{p}head {p}head_dist'
    )
    theirs.leave_head('norm', 'mlp_head.0 classifier.layernorm')
    theirs.leave_head('fc_cls', 'mlp_head.1 classifier.dense')
    theirs.translate(NAMES, p)


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
    theirs.translate(NAMES, p)


OURS = Layout(
    'ca2st_mm',
    Conversion.take_all,
    'ffn.fc1.weight',  # of any layer
    is_expert=False,
)
LAYOUTS = {
    layout.name: layout
    for layout in (
        OURS,
        *REFERENCES,
        Layout('clip_openai', clip, 'class_embedding ln_pre.weight'),
        Layout(
            'clip_hf',
            clip,
            'embeddings.class_embedding pre_layrnorm.weight',
        ),
        Layout('ast_official', ast, 'dist_token patch_embed.proj.weight'),
        Layout('ast_hf', ast, 'embeddings.distillation_token'),
        Layout(
            'videomae_official',
            videomae,
            'patch_embed.proj.weight blocks.0.mlp.fc1.weight',
            'cls_token',
        ),
        Layout(
            'videomae_mmaction',
            videomae,
            'patch_embed.projection.weight blocks.0.mlp.layers.0.0.weight',
            'cls_token',
        ),
        Layout(
            'videomae_hf',
            videomae,
            'embeddings.patch_embeddings.projection.weight '
            'encoder.layer.0.attention.attention.query.weight',
            'embeddings.cls_token',
        ),
        Layout(
            'beats',
            beats,
            'patch_embedding.weight encoder.pos_conv.0.weight_g '
            'encoder.layers.0.self_attn.relative_attention_bias.weight',
        ),
    )
}


def detect_layout(keys: Collection[str]) -> Layout:
    """Tell by its names which layout a state dict is of.

    Raises:
        ValueError: If no layout fits.

    Example:
        >>> detect_layout(['layers.0.ffn.fc1.weight']).name
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
