# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Convert a checkpoint to our names, or a recognizer of ours back.

``python tools/convert_checkpoint.py ViT-B-16.pt clip.safetensors`` tells by
the names in the file whose weights it holds; ``--dry-run`` only prints what
would become of every key.  What was written is loaded again before the tool
says that it is done.
"""
# What imports torch is imported by functions, so that --help is quick.

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ca2st_mm.checkpoints import Conversion

TARGETS = ('ours', 'reference')


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('src', help='file to read, or its name in the zoo')
    parser.add_argument(
        'dst',
        nargs='?',
        help='file to write, .safetensors or .pth; not needed with --dry-run',
    )
    parser.add_argument(
        '--from',
        dest='source',
        help='whose names the file holds, such as clip_hf; told by the names '
        'if left out',
    )
    parser.add_argument(
        '--to',
        choices=TARGETS,
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


EXPERTS = dict(clip='CLIPExpert', videomae='VideoMAEExpert', ast='ASTExpert')


def report(conversion: 'Conversion', with_table: bool) -> None:
    """Print what became of the keys, and what the user should know."""
    if with_table:
        for key, value in conversion.state_dict.items():
            theirs = ' + '.join(conversion.origins[key])
            print(f'{theirs} -> {key} {tuple(value.shape)}')
        for key, why in conversion.ignored.items():
            print(f'{key} -> nothing: {why}')
    for why, keys in conversion.reasons().items():
        print(f'ignored {len(keys)} keys: {why}')
    for note in conversion.notes:
        print(f'note: {note}')


def check_expert(path: Path, model: str) -> str:
    """Load a file into the expert it is for, of the size of its tensors.

    Raises:
        ValueError: If the expert does not take it.
    """
    from ca2st_mm.registry import MODELS

    shapes = {k: v.shape for k, v in _weights_of(path).items()}
    dims, patch = shapes['patch_embed.weight'][0], shapes['patch_embed.weight']
    arch = dict(
        embed_dims=dims,
        num_layers=1
        + max(int(k.split('.')[1]) for k in shapes if k.startswith('layers.')),
        num_heads=max(1, dims // 64),
        feedforward_channels=shapes['layers.0.ffn.fc1.weight'][0],
        patch_size=patch[-1],
    )
    own: dict = {}
    if model == 'clip':
        side = math.isqrt(shapes['pos_embed'][1] - 1)
        own = dict(img_size=side * patch[-1])
    elif model == 'ast':
        count = shapes['pos_embed'][1] - 2
        # AudioSet's 128 mel bins make 12 rows of patches.
        rows = 12 if count % 12 == 0 else math.isqrt(count)
        mels = 128 if rows == 12 else 10 * rows + 6
        arch['pretrained_mels'] = mels
        own = dict(spec_size=(10 * (count // rows) + 6, mels))
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    expert = MODELS.build(
        dict(
            type=EXPERTS[model],
            arch=arch,
            adapter_ratio=None,
            frozen_parts=(),
            init_cfg=init_cfg,
            **own,
        )
    )
    expert.init_weights()
    return f'{EXPERTS[model]} loads it'


def _weights_of(path: Path) -> dict:
    from ca2st_mm.checkpoints import read_checkpoint, unwrap

    return unwrap(read_checkpoint(path)).state_dict


def check(path: Path, config: str | None, model: str) -> str:
    """Load what was written; in words, what took it.

    Raises:
        ValueError: If nothing of ours takes it.
    """
    from mmengine.config import Config

    from ca2st_mm.apis.models import build_model
    from ca2st_mm.checkpoints import detect_source, load_weights

    if config:
        load_weights(build_model(Config.fromfile(config)), path)
        return f'the model of {config} loads it'
    if model in EXPERTS:
        return check_expert(path, model)
    detect_source(_weights_of(path))
    return 'name its config with --config to check that the model fits'


def run(args: argparse.Namespace) -> None:
    """Convert as the command line says."""
    import ca2st_mm
    from ca2st_mm.checkpoints import (
        OURS,
        SOURCES,
        detect_source,
        drop_audio_positions,
        from_reference,
        layout_of_ours,
        open_checkpoint,
        to_reference,
        unwrap,
        write_checkpoint,
    )

    weights, how = unwrap(open_checkpoint(args.src))
    if args.source and args.source not in SOURCES:
        raise ValueError(
            f'--from {args.source} is not known; choose one of '
            f'{", ".join(SOURCES)}'
        )
    source = SOURCES[args.source] if args.source else detect_source(weights)
    print(f'{args.src}: {source.title} ({source.name}), in {how}')
    conversion = source.to_ours(weights)
    if args.drop_audio_positions:
        conversion = drop_audio_positions(conversion)
    written, target = conversion.state_dict, OURS.name
    if args.to == 'reference':
        layout = layout_of_ours(written)
        target = f'{layout.family}_reference'
        written = to_reference(written, layout)
        # Reading it again checks it, and says what each key stands for.
        conversion = from_reference(written)
    report(conversion, with_table=args.dry_run)
    if args.dry_run:
        return
    metadata = dict(
        source=source.name,
        layout=target,
        file=Path(args.src).name,
        ca2st_mm=ca2st_mm.__version__,
    )
    dst = Path(args.dst)
    # What is there stays until the new file is known to be good.
    part = dst.with_name(f'.{dst.stem}.part{dst.suffix}')
    try:
        write_checkpoint(part, written, metadata)
        outcome = check(part, args.config, source.model)
        part.replace(dst)
    finally:
        part.unlink(missing_ok=True)
    print(
        f'{args.dst}: {len(written)} tensors in the layout {target}; {outcome}'
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
