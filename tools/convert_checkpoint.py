# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Convert a checkpoint to our names, or a recognizer of ours back.

``ca2st convert ViT-B-16.pt clip.safetensors`` tells by
the names in the file whose weights it holds; ``--dry-run`` only prints what
would become of every key.  What was written is loaded again before the tool
says that it is done.
"""
# What imports torch is imported by functions, so that --help is quick.

import argparse
import math
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common_flags import new_parser

EXPERTS = dict(clip='CLIPExpert', videomae='VideoMAEExpert', ast='ASTExpert')
AUDIO_TABLE = re.compile(
    r'backbone\.links\.\d+\.(spatial|temporal)_audio\.'
    r'(a_from_b|b_from_a)\.(query|context)_positions\.'
)
# Bottlenecks of one expert in two links.
SAME_EXPERT = (
    ('spatial_audio.bottleneck_a', 'spatial_temporal.bottleneck_a'),
    ('temporal_audio.bottleneck_a', 'spatial_temporal.bottleneck_b'),
    ('spatial_audio.bottleneck_b', 'temporal_audio.bottleneck_b'),
)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument('src', help='file to read, or its name in the zoo')
    parser.add_argument(
        'dst',
        nargs='?',
        help='file to write, .safetensors or .pth; not needed with --dry-run',
    )
    parser.add_argument(
        '--to',
        choices=('ours', 'reference'),
        default='ours',
        help='reference: the names of the authors of CAST, CAVA and CA2ST',
    )
    parser.add_argument(
        '--config',
        help='config of the recognizer, to check that it takes what was '
        'written',
    )
    parser.add_argument(
        '--drop-audio-positions',
        action='store_true',
        help='leave out position tables of audio links, which early CA2ST '
        'checkpoints carry unused',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='print the key table only'
    )
    args = parser.parse_args()
    if args.dst is None and not args.dry_run:
        parser.error('name the file to write, or give --dry-run')
    return args


def expert_config(weights: Mapping, model: str) -> dict:
    """Config of the expert of the size of its tensors."""
    patch = weights['patch_embed.weight'].shape
    layers = {int(k.split('.')[1]) for k in weights if k.startswith('layers.')}
    arch = dict(
        embed_dims=patch[0],
        num_layers=1 + max(layers),
        num_heads=max(1, patch[0] // 64),
        feedforward_channels=len(weights['layers.0.ffn.fc1.weight']),
        patch_size=patch[-1],
    )
    own: dict = {}
    if model == 'clip':
        side = math.isqrt(weights['pos_embed'].shape[1] - 1)
        own = dict(img_size=side * patch[-1])
    elif model == 'ast':
        count = weights['pos_embed'].shape[1] - 2
        # AudioSet's 128 mel bins make 12 rows of patches.
        rows = 12 if count % 12 == 0 else math.isqrt(count)
        mels = 128 if rows == 12 else 10 * rows + 6
        arch['pretrained_mels'] = mels
        own = dict(spec_size=(10 * (count // rows) + 6, mels))
    return dict(
        type=EXPERTS[model],
        arch=arch,
        adapter_ratio=None,
        frozen_parts=(),
        **own,
    )


def check(path: Path, config: str | None, model: str) -> str:
    """Load what was written; in words, what took it.

    Raises:
        ValueError: If nothing of ours takes it.
    """
    from ca2st_mm.checkpoints import (
        detect_layout,
        load_weights,
        read_checkpoint,
        unwrap,
    )
    from ca2st_mm.checkpoints.sharing import build_model
    from ca2st_mm.engine.launch import read_config
    from ca2st_mm.registry import MODELS

    if config:
        load_weights(build_model(read_config(config)), path)
        return f'the model of {config} loads it'
    weights = unwrap(read_checkpoint(path))
    if model in EXPERTS:
        init_cfg = dict(type='Pretrained', checkpoint=str(path))
        expert = expert_config(weights, model)
        MODELS.build(dict(expert, init_cfg=init_cfg)).init_weights()
        return f'{EXPERTS[model]} loads it'
    detect_layout(weights)
    return 'name its config with --config to check that the model fits'


def drop_audio_positions(conversion: Any) -> None:
    """Leave out the position tables of audio links.

    Raises:
        ValueError: If there are none.
    """
    tables = [k for k in conversion.state_dict if AUDIO_TABLE.match(k)]
    if not tables:
        raise ValueError(
            'the checkpoint has no position tables in audio links; convert it '
            'without --drop-audio-positions'
        )
    for table in tables:
        del conversion.state_dict[table]
        [key] = conversion.origins.pop(table)
        conversion.ignored[key] = 'position table that is not used'


def hints(layout: str, ours: Mapping) -> Iterator[str]:
    """What names do not tell of an authors' checkpoint, its config has to."""
    import torch

    if layout == 'cast_reference' and 'cls_head.fc_cls.weight' in ours:
        yield (
            "the authors' CAST code (released SSV2 and K400 weights) sums "
            "adapters of type 'Adapter' in the head, their later code takes "
            "reduction='mean' of type 'ResidualAdapter'"
        )
    if layout == 'cava_reference':
        yield 'CAVA needs norm_eps=1e-6 in CLIPExpert'
    pairs = [
        (ours[key], ours[other])
        for key in ours
        for a, b in SAME_EXPERT
        if f'.{a}.' in key
        and (other := key.replace(f'.{a}.', f'.{b}.')) in ours
    ]
    if pairs and all(torch.equal(a, b) for a, b in pairs):
        yield (
            'the links of each expert have equal bottlenecks: give '
            'MultiExpertBackbone share_bottlenecks=True'
        )
    if any(key.startswith('backbone.time_encoders.') for key in ours):
        yield (
            'the authors laid the time bins of audio out in time-major order: '
            "give ASTExpert time_bin_order='time_major'"
        )
        if any(AUDIO_TABLE.match(key) for key in ours):
            yield (
                'the audio links carry position tables next to time encoders; '
                'checkpoints from before 2024-08-26 carry them even where '
                'training did not use them: --drop-audio-positions leaves '
                'them out'
            )


def run(args: argparse.Namespace) -> None:
    """Convert as the command line says."""
    import ca2st_mm
    from ca2st_mm.checkpoints import (
        detect_layout,
        open_checkpoint,
        to_reference,
        unwrap,
        write_checkpoint,
    )
    from ca2st_mm.utils.files import written_whole

    weights = unwrap(open_checkpoint(args.src))
    layout = detect_layout(weights)
    print(f'{args.src}: {layout.name}')
    conversion = layout.convert(weights)
    if args.drop_audio_positions:
        drop_audio_positions(conversion)
    if layout.name.endswith('_reference'):
        conversion.notes = list(hints(layout.name, conversion.state_dict))
    written = conversion.state_dict
    if args.to == 'reference':
        written = to_reference(written)
        # Reading it again checks it, and says what each key stands for.
        conversion = detect_layout(written).convert(written)
    target = detect_layout(written)
    if args.dry_run:
        for key, value in conversion.state_dict.items():
            theirs = ' + '.join(conversion.origins[key])
            print(f'{theirs} -> {key} {tuple(value.shape)}')
        for key, why in conversion.ignored.items():
            print(f'{key} -> nothing: {why}')
    for line in conversion.account():
        print(line)
    if args.dry_run:
        return
    metadata = dict(
        source=layout.name,
        layout=target.name,
        file=Path(args.src).name,
        ca2st_mm=ca2st_mm.__version__,
    )
    # What is there stays until the new file is known to be good.
    with written_whole(args.dst) as part:
        try:
            write_checkpoint(part, written, metadata)
            outcome = check(part, args.config, layout.model)
        except ValueError as error:
            text = str(error).replace(str(part), args.dst)
            raise ValueError(text) from error
    print(
        f'{args.dst}: {len(written)} tensors in the layout {target.name}; '
        f'{outcome}'
    )


def main() -> int:
    """Convert; a checkpoint that cannot be read ends in one sentence."""
    args = parse_args()
    from ca2st_mm.zoo import ZooError

    try:
        run(args)
    except (FileNotFoundError, KeyError, ValueError, ZooError) as error:
        print(f'error: {error.args[-1]}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
