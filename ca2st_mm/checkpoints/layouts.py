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
LAYER = {
    'attention.norm': (
        'norm1 ln_1 layer_norm1 layernorm_before self_attn_layer_norm'
    ),
    'attention.attn.qkv': 'attn.qkv attn.in_proj',
    'attention.attn.q': (
        'attn.q attention.attention.q attention.attention.query '
        'self_attn.q_proj attention.q_proj'
    ),
    'attention.attn.k': (
        'attn.k attention.attention.key self_attn.k_proj attention.k_proj'
    ),
    'attention.attn.v': (
        'attn.v attention.attention.v attention.attention.value '
        'self_attn.v_proj attention.v_proj'
    ),
    'attention.attn.proj': (
        'attn.proj attn.out_proj attention.output.dense self_attn.out_proj '
        'attention.o_proj'
    ),
    'attention.attn.gate': 'self_attn.grep_linear',
    'attention.attn.gate_scale': 'self_attn.grep_a',
    'ffn.norm': 'norm2 ln_2 layer_norm2 layernorm_after final_layer_norm',
    'ffn.fc1': 'mlp.fc1 mlp.c_fc mlp.layers.0.0 intermediate.dense fc1',
    'ffn.fc2': 'mlp.fc2 mlp.c_proj mlp.layers.1 output.dense fc2',
}
# What stands around the layers.
AROUND = {
    'cls_token': (
        'cls_token class_embedding embeddings.class_embedding '
        'embeddings.cls_token'
    ),
    'dist_token': 'dist_token embeddings.distillation_token',
    'pos_embed': (
        'pos_embed positional_embedding embeddings.position_embeddings '
        'embeddings.position_embedding.weight'
    ),
    'patch_embed': (
        'patch_embed.proj patch_embed.projection conv1 patch_embedding '
        'embeddings.patch_embedding embeddings.patch_embeddings.projection'
    ),
    'pre_norm': 'ln_pre pre_layrnorm encoder.layer_norm',
    'norm': 'norm fc_norm ln_post post_layernorm layernorm',
    'patch_norm': 'layer_norm',
    'patch_proj': 'post_extract_proj',
    'pos_conv': 'encoder.pos_conv.0',
    'pos_conv.parametrizations.weight.original0': (
        'encoder.pos_conv.0.weight_g'
    ),
    'pos_conv.parametrizations.weight.original1': (
        'encoder.pos_conv.0.weight_v'
    ),
}
PARTS_OF_LAYER = (
    'attention.norm.* attention.attn.qkv.* attention.attn.proj.* ffn.norm.* '
    'ffn.fc1.* ffn.fc2.*'
)

_IN_LAYER = re.compile(
    r'(?:transformer\.resblocks|encoder\.layers?|blocks|layers)\.(\d+)\.(.+)'
)
_WORDS = [
    {word: ours for ours, words in table.items() for word in words.split()}
    for table in (LAYER, AROUND)
]


def our_name(key: str) -> str | None:
    """Our name of a tensor that others published; None if there is none.

    Example:
        >>> our_name('transformer.resblocks.3.ln_1.weight')
        'layers.3.attention.norm.weight'
    """
    key = re.sub(r'_(weight|bias)$', r'.\1', key)  # in_proj_weight, q_bias
    front, ours = '', _WORDS[1]
    if match := _IN_LAYER.fullmatch(key):
        front, ours, key = f'layers.{match[1]}.', _WORDS[0], match[2]
    module, _, kind = key.rpartition('.')
    if key in ours:
        return front + ours[key]
    if module in ours and kind in ('weight', 'bias'):
        return f'{front}{ours[module]}.{kind}'
    return None


def take_parts(
    theirs: Conversion,
    prefix: str,
    parts: str,
    layer: str = '',
    key_bias: bool = True,
) -> None:
    """Take what an expert is made of.

    Args:
        theirs: Takes the rest of its tensors as unknown.
        prefix: What stands before the names of the expert.
        parts: Our names; ``*`` stands for weight and bias.
        layer: What a layer has more than :data:`PARTS_OF_LAYER`.
        key_bias: False if the bias of the key may be absent: it shifts all
            logits of a query alike, so that zeros do the same.

    Raises:
        KeyError: If a part is missing, or is there twice.
    """
    keys: dict[str, str] = {}
    for key in theirs.left:
        if ours := our_name(key.removeprefix(prefix)):
            if ours in keys:
                raise KeyError(
                    f'{theirs.title}: {keys[ours]!r} and {key!r} are the same '
                    'tensor'
                )
            keys[ours] = key
    indices = (int(k.split('.')[1]) for k in keys if k.startswith('layers.'))
    names = parts.split() + [
        f'layers.{i}.{part}'
        for i in range(1 + max(indices, default=0))
        for part in f'{PARTS_OF_LAYER} {layer}'.split()
    ]
    for name in names:
        for kind in ('weight', 'bias') if '*' in name else ('',):
            ours = name.replace('*', kind)
            of = [ours]
            if '.qkv.' in ours and ours not in keys:
                of = [ours.replace('.qkv.', f'.{x}.') for x in 'qkv']
            of = [keys.get(part, part) for part in of]
            may_lack = len(of) > 1 and kind == 'bias' and not key_bias
            theirs.take(ours, *of, optional=of[1] if may_lack else None)


_ACTIVATION = (
    'names do not tell the activation: CLIPExpert uses quick GELU, as '
    "OpenAI trained; give arch the entry activation='gelu' for weights "
    "trained with GELU (hidden_act 'gelu', or OpenCLIP models without "
    "'quickgelu' in their name)"
)


def clip(theirs: Conversion, p: str) -> None:
    """CLIP's image encoder; the text encoder is left out."""
    theirs.notes.append(_ACTIVATION)
    theirs.leave_out(
        'projection into the space shared with text; ours stops before it',
        f'{p}proj',
        'visual_projection',
    )
    theirs.leave_out(
        'an index table, no weight', f'{p}embeddings.position_ids'
    )
    if p:
        theirs.leave_out(
            'text tower; the expert sees images only',
            'text',  # all of it, in OpenCLIP's newer class
            'text_model',
            'transformer',
            'token_embedding',
            'positional_embedding',
            'ln_final',
            'text_projection',
            'attn_mask',
        )
        theirs.leave_out(
            'temperature or bias of the contrastive loss',
            'logit_scale',
            'logit_bias',
        )
        theirs.leave_out(
            'a setting that the archive keeps next to the weights',
            'input_resolution',
            'context_length',
            'vocab_size',
        )
    take_parts(
        theirs, p, 'cls_token pos_embed patch_embed.weight pre_norm.* norm.*'
    )


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
    theirs.leave_out('sinusoid table; ours is computed', table, 'pos_embed')
    # The reference code, too, leaves it out for CAST.
    theirs.leave_out(
        'norm over single tokens; ours follows the pooling and is another one',
        f'{p}norm',
        f'{p}layernorm',
    )
    theirs.leave_out(
        'decoder of the masked pre-training',
        'decoder',
        'encoder_to_decoder',
        'mask_token',
    )
    heads = (f'{p}head', 'head', 'classifier', 'cls_head.fc_cls')
    theirs.leave_head('fc_cls', *heads)
    normed = any('fc_norm.' in key for key in theirs.left)
    parts = 'patch_embed.* norm.*' if normed else 'patch_embed.*'
    take_parts(theirs, p, parts, key_bias=False)


def ast(theirs: Conversion, p: str) -> None:
    """AST, which is made of a ViT of timm."""
    theirs.leave_out(
        'ImageNet classifier that AST never uses', f'{p}head', f'{p}head_dist'
    )
    theirs.leave_head('norm', 'mlp_head.0', 'classifier.layernorm')
    theirs.leave_head('fc_cls', 'mlp_head.1', 'classifier.dense')
    take_parts(
        theirs, p, 'cls_token dist_token pos_embed patch_embed.* norm.*'
    )


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
    theirs.take('position_bias.weight', first)
    theirs.leave_out('table of layer 0 again', *others)
    theirs.leave_out(
        'classifier; its classes are label_dict of the file', 'predictor'
    )
    conv = 'pos_conv.parametrizations.weight.original'
    take_parts(
        theirs,
        p,
        'patch_embed.weight patch_norm.* patch_proj.* pre_norm.* '
        f'pos_conv.bias {conv}0 {conv}1',
        layer='attention.attn.gate.* attention.attn.gate_scale',
    )


def _expert(
    name: str,
    title: str,
    take: Callable[[Conversion, str], None],
    prefixes: str,
    there: str,
    absent: str = '',
) -> Layout:
    """A layout whose prefix is the first under which all of some names are.

    None of others may be there.  No prefix comes last.
    """

    def find_prefix(keys: Collection[str]) -> str | None:
        for prefix in (*prefixes.split(), ''):
            if all(prefix + key in keys for key in there.split()) and not any(
                prefix + key in keys for key in absent.split()
            ):
                return prefix
        return None

    return Layout(name, title, find_prefix, take, True)


_OURS = re.compile(r'(.+\.)?layers\.\d+\.attention\.attn\.qkv\.weight')
OURS = Layout(
    'ca2st_mm',
    'ca2st_mm',
    lambda keys: '' if any(map(_OURS.fullmatch, keys)) else None,
    Conversion.take_all,
)
_LAYOUTS = (
    OURS,
    *REFERENCES,
    _expert(
        'clip_openai',
        'OpenAI CLIP or OpenCLIP',
        clip,
        'visual.',
        'class_embedding conv1.weight ln_pre.weight',
    ),
    _expert(
        'clip_hf',
        'CLIP of Hugging Face',
        clip,
        'vision_model.',
        'embeddings.class_embedding pre_layrnorm.weight',
    ),
    _expert(
        'videomae_official',
        'VideoMAE or VideoMAE V2, official code',
        videomae,
        'encoder. backbone.',
        'patch_embed.proj.weight blocks.0.attn.qkv.weight '
        'blocks.0.mlp.fc1.weight',
        absent='cls_token clip_conv1.weight',
    ),
    _expert(
        'videomae_mmaction',
        'VideoMAE of MMAction2',
        videomae,
        'backbone.',
        'patch_embed.projection.weight blocks.0.mlp.layers.0.0.weight',
        absent='cls_token',
    ),
    _expert(
        'videomae_hf',
        'VideoMAE of Hugging Face',
        videomae,
        'videomae.',
        'embeddings.patch_embeddings.projection.weight '
        'encoder.layer.0.attention.attention.query.weight',
        absent='embeddings.cls_token',
    ),
    _expert(
        'ast_official',
        'AST, official code',
        ast,
        'v.',
        'dist_token patch_embed.proj.weight blocks.0.attn.qkv.weight',
    ),
    _expert(
        'ast_hf',
        'AST of Hugging Face',
        ast,
        'audio_spectrogram_transformer.',
        'embeddings.distillation_token',
    ),
    _expert(
        'beats',
        'BEATs, official code',
        beats,
        '',
        'patch_embedding.weight encoder.pos_conv.0.weight_g '
        'encoder.layers.0.self_attn.relative_attention_bias.weight',
    ),
)
LAYOUTS = {layout.name: layout for layout in _LAYOUTS}


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
