# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Parameter names of the authors' code next to ours, model by model."""

from collections.abc import Iterator

from .conversion import Rule

SPATIAL = 'backbone.experts.spatial'
TEMPORAL = 'backbone.experts.temporal'
AUDIO = 'backbone.experts.audio'


def _under(prefix: str, rules: list[Rule]) -> Iterator[Rule]:
    for rule in rules:
        yield rule._replace(ours=f'{prefix}.{rule.ours}')


CLIP = [
    Rule('clip_class_embedding', 'cls_token', 2),
    Rule('clip_positional_embedding', 'pos_embed', 1),
    Rule('clip_conv1', 'patch_embed'),
    Rule('clip_ln_pre', 'pre_norm'),
    Rule('clip_ln_post', 'norm'),
    Rule('blocks.{i}.clip_ln_1', 'layers.{i}.attention.norm'),
    Rule(
        'blocks.{i}.clip_attn.in_proj_weight',
        'layers.{i}.attention.attn.qkv.weight',
    ),
    Rule(
        'blocks.{i}.clip_attn.in_proj_bias',
        'layers.{i}.attention.attn.qkv.bias',
    ),
    Rule('blocks.{i}.clip_attn.out_proj', 'layers.{i}.attention.attn.proj'),
    Rule('blocks.{i}.clip_ln_2', 'layers.{i}.ffn.norm'),
    Rule('blocks.{i}.clip_mlp.c_fc', 'layers.{i}.ffn.fc1'),
    Rule('blocks.{i}.clip_mlp.c_proj', 'layers.{i}.ffn.fc2'),
]
VIDEOMAE = [
    Rule('patch_embed.proj', 'patch_embed'),
    Rule('vmae_fc_norm', 'norm'),
    Rule('blocks.{i}.norm1', 'layers.{i}.attention.norm'),
    Rule('blocks.{i}.attn', 'layers.{i}.attention.attn'),
    Rule('blocks.{i}.norm2', 'layers.{i}.ffn.norm'),
    Rule('blocks.{i}.mlp', 'layers.{i}.ffn'),
]
AST = [
    Rule('ast_cls_token', 'cls_token'),
    Rule('ast_dist_token', 'dist_token'),
    Rule('ast_pos_embed', 'pos_embed'),
    Rule('ast_patch_embed.proj', 'patch_embed'),
    Rule('ast_norm', 'norm'),
    Rule('blocks.{i}.ast_norm1', 'layers.{i}.attention.norm'),
    Rule('blocks.{i}.ast_attn', 'layers.{i}.attention.attn'),
    Rule('blocks.{i}.ast_norm2', 'layers.{i}.ffn.norm'),
    Rule('blocks.{i}.ast_mlp', 'layers.{i}.ffn'),
]


def _mlp(theirs: str, ours: str) -> list[Rule]:
    return [
        Rule(f'{theirs}.D_fc1', f'{ours}.down'),
        Rule(f'{theirs}.D_fc2', f'{ours}.up'),
    ]


def _layer_adapters(letter: str) -> list[Rule]:
    return [
        *_mlp(
            f'blocks.{{i}}.{letter}_Adapter',
            'layers.{i}.attention.adapter',
        ),
        *_mlp(f'blocks.{{i}}.{letter}_MLP_Adapter', 'layers.{i}.ffn.adapter'),
    ]


def _attention(
    theirs: str, ours: str, q: str, kv: str, proj: str
) -> list[Rule]:
    return [
        Rule(f'{theirs}.{q}.weight', f'{ours}.attn.q.weight'),
        Rule(f'{theirs}.{q}_bias', f'{ours}.attn.q.bias'),
        Rule(f'{theirs}.{kv}.weight', f'{ours}.attn.kv.weight'),
        Rule(f'{theirs}.{kv}_bias', f'{ours}.attn.kv.bias'),
        Rule(f'{theirs}.{proj}', f'{ours}.attn.proj'),
    ]


def _tables(
    theirs: str, ours: str, query: str, context: str, time: str = 'temporal'
) -> list[Rule]:
    """Position tables; the last three are words of the reference's names."""
    return [
        Rule(
            f'{theirs}.{name}_{kind}_pos',
            f'{ours}.{side}_positions.0.{table}_table',
        )
        for name, side in ((query, 'query'), (context, 'context'))
        for kind, table in (('space', 'space'), (time, 'time'))
    ]


def _ends(prefix: str, ours: str, a: str, b: str) -> list[Rule]:
    """Bottlenecks and norms; ``a`` and ``b`` are the reference's letters."""
    rules = []
    for end, letter in (('a', a), ('b', b)):
        bottleneck = f'{ours}.bottleneck_{end}'
        rules += [
            Rule(f'{prefix}.cross_{letter}_down', f'{bottleneck}.down'),
            Rule(f'{prefix}.cross_{letter}_up', f'{bottleneck}.up'),
            Rule(f'{prefix}.ln_{letter}_cross', f'{ours}.norm_{end}'),
        ]
    return rules


def _link(name: str) -> str:
    return f'backbone.links.{{i}}.{name}'


def _cast_link() -> list[Rule]:
    ours = _link('spatial_temporal')
    t2s, s2t = 'blocks.{i}.t2s_cross', 'blocks.{i}.s2t_cross'
    to_s, to_t = f'{ours}.a_from_b', f'{ours}.b_from_a'
    return [
        *_ends('blocks.{i}', ours, 's', 't'),
        *_attention(t2s, to_s, 't2s_q', 't2s_kv', 't2s_proj'),
        *_tables(t2s, to_s, 'clip', 'vmae', 'time'),
        # The reference calls both output projections t2s_proj.
        *_attention(s2t, to_t, 's2t_q', 's2t_kv', 't2s_proj'),
        *_tables(s2t, to_t, 'vmae', 'clip', 'time'),
    ]


def _cava_link() -> list[Rule]:
    # CAVA reuses CAST's names: s and clip_*_pos are audio, t and vmae_*_pos
    # are spatial.
    ours = _link('spatial_audio')
    t2s, s2t = 'blocks.{i}.t2s_cross', 'blocks.{i}.s2t_cross'
    to_audio, to_spatial = f'{ours}.b_from_a', f'{ours}.a_from_b'
    return [
        *_ends('blocks.{i}', ours, 't', 's'),
        *_attention(t2s, to_audio, 't2s_q', 't2s_kv', 't2s_proj'),
        *_tables(t2s, to_audio, 'clip', 'vmae'),
        *_attention(s2t, to_spatial, 's2t_q', 's2t_kv', 't2s_proj'),
        *_tables(s2t, to_spatial, 'vmae', 'clip'),
    ]


def _ca2st_links() -> list[Rule]:
    rules = []
    pairs = dict(
        s_t=('spatial_temporal', 'clip', 'vmae'),
        s_audio=('spatial_audio', 'clip', 'audio'),
        t_audio=('temporal_audio', 'vmae', 'audio'),
    )
    for short, (name, left, right) in pairs.items():
        ours, theirs = _link(name), f'blocks.{{i}}.{short}_b_cast'
        rules += _ends(theirs, ours, 'l', 'r')
        to_a, to_b = f'{theirs}.r2l_cross', f'{theirs}.l2r_cross'
        names_a = names_b = ('q', 'kv', 'proj')
        time = 'temporal'
        if short == 's_t':
            time = 'time'
            names_a = ('t2s_q', 't2s_kv', 't2s_proj')
            names_b = ('s2t_q', 's2t_kv', 't2s_proj')
        rules += _attention(to_a, f'{ours}.a_from_b', *names_a)
        rules += _tables(to_a, f'{ours}.a_from_b', left, right, time)
        rules += _attention(to_b, f'{ours}.b_from_a', *names_b)
        rules += _tables(to_b, f'{ours}.b_from_a', right, left, time)
    return rules


def _time_encoders(linears: tuple[str, str, str], norm: str) -> list[Rule]:
    rules = []
    for theirs, stream in (('time_mlp', 'imgs'), ('audio_time_mlp', 'audios')):
        ours = f'backbone.time_encoders.{stream}'
        rules += [
            Rule(f'{theirs}.{their}', f'{ours}.mlp.{our}')
            for their, our in zip(linears, (0, 2, 4), strict=True)
        ]
        rules.append(Rule(f'{theirs}.{norm}', f'{ours}.norm'))
    return rules


def _audio_mlp(theirs: str, ours: str) -> list[Rule]:
    return [
        Rule(f'{theirs}.c_fc', f'{ours}.down'),
        Rule(f'{theirs}.c_proj', f'{ours}.up'),
    ]


SINGLE = [Rule('head', 'cls_head.fc_cls')]
COMPOSITION = [
    Rule('head_noun', 'cls_head.fc_noun'),
    Rule('head_verb', 'cls_head.fc_verb'),
]
FUSION = 'cls_head.fusion.adapters'
VERB = 'cls_head.fusions.verb.adapters'
NOUN = 'cls_head.fusions.noun.adapters'

HEADS = {
    ('cast', 'single'): [
        *SINGLE,
        *_mlp('noun_last_Adapter', f'{FUSION}.spatial'),
        *_mlp('verb_last_Adapter', f'{FUSION}.temporal'),
    ],
    ('cast', 'composition'): COMPOSITION,
    ('cava', 'single'): [
        *SINGLE,
        *_mlp('noun_last_Adapter', f'{FUSION}.audio'),
        *_mlp('verb_last_Adapter', f'{FUSION}.spatial'),
    ],
    # Both classifiers of CAVA read one fusion; ours keeps it under 'verb'.
    ('cava', 'composition'): [
        *COMPOSITION,
        *_mlp('noun_last_Adapter', f'{VERB}.audio'),
        *_mlp('verb_last_Adapter', f'{VERB}.spatial'),
    ],
    ('ca2st', 'single'): [
        *SINGLE,
        *_mlp('noun_last_Adapter', f'{FUSION}.spatial'),
        *_mlp('verb_last_Adapter', f'{FUSION}.temporal'),
        *_audio_mlp('audio_verb_last_Adapter', f'{FUSION}.audio'),
    ],
    ('ca2st', 'composition'): [
        *COMPOSITION,
        *_mlp('noun_last_Adapter', f'{NOUN}.spatial'),
        *_mlp('verb_last_Adapter', f'{VERB}.temporal'),
        *_audio_mlp('audio_noun_last_Adapter', f'{NOUN}.audio'),
        *_audio_mlp('audio_verb_last_Adapter', f'{VERB}.audio'),
    ],
}
BODIES = dict(
    cast=[
        *_under(SPATIAL, CLIP + _layer_adapters('S')),
        *_under(TEMPORAL, VIDEOMAE + _layer_adapters('T')),
        *_cast_link(),
    ],
    cava=[
        *_under(AUDIO, AST + _layer_adapters('S')),
        *_under(SPATIAL, CLIP + _layer_adapters('T')),
        *_cava_link(),
        *_time_encoders(('0', '2.0', '3.0'), '4'),
    ],
    ca2st=[
        *_under(SPATIAL, CLIP + _layer_adapters('S')),
        *_under(TEMPORAL, VIDEOMAE + _layer_adapters('T')),
        *_under(AUDIO, AST + _layer_adapters('Audio')),
        *_ca2st_links(),
        *_time_encoders(('0', '2', '4'), '6'),
    ],
)
