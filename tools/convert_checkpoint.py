# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Convert a checkpoint to our names, or a recognizer of ours back.

``python tools/convert_checkpoint.py ViT-B-16.pt clip.safetensors`` tells by
the names in the file whose weights it holds; ``--dry-run`` only prints what
would become of every key.
"""

import argparse
import sys
from pathlib import Path

import ca2st_mm
from ca2st_mm.checkpoints import (
    OURS,
    SOURCES,
    Conversion,
    Source,
    detect_source,
    drop_audio_positions,
    from_reference,
    layout_of_ours,
    read_checkpoint,
    to_reference,
    unwrap,
    write_checkpoint,
)

TARGETS = ('ours', 'reference')


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('src', help='file to read')
    parser.add_argument(
        'dst',
        nargs='?',
        help='file to write, .safetensors or .pth; not needed with --dry-run',
    )
    parser.add_argument(
        '--from',
        dest='source',
        choices=SOURCES,
        help='whose names the file holds; told by the names if left out',
    )
    parser.add_argument(
        '--to',
        choices=TARGETS,
        default='ours',
        help='reference: the names of the authors of CAST, CAVA and CA2ST',
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


def read(path: str, name: str | None) -> tuple[Source, Conversion]:
    """Read a file and convert it to our names."""
    state_dict, how = unwrap(read_checkpoint(path))
    source = SOURCES[name] if name else detect_source(state_dict)
    print(f'{path}: {source.title} ({source.name}), in {how}')
    return source, source.to_ours(state_dict)


def describe(conversion: Conversion) -> list[str]:
    """A line for every key: theirs -> ours and the shape, or why not."""
    taken = [
        f'{" + ".join(conversion.origins[key])} -> {key} {tuple(value.shape)}'
        for key, value in conversion.state_dict.items()
    ]
    ignored = [f'{k} -> nothing: {v}' for k, v in conversion.ignored.items()]
    return taken + ignored


def report(conversion: Conversion, with_table: bool) -> None:
    """Print what became of the keys, and what the user should know."""
    if with_table:
        print('\n'.join(describe(conversion)))
    for why, keys in conversion.reasons().items():
        print(f'ignored {len(keys)} keys: {why}')
    for note in conversion.notes:
        print(f'note: {note}')


def run(args: argparse.Namespace) -> None:
    """Convert as the command line says."""
    source, conversion = read(args.src, args.source)
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
    write_checkpoint(args.dst, written, metadata)
    print(f'{args.dst}: {len(written)} tensors in the layout {target}')


def main() -> int:
    """Convert; a checkpoint that cannot be read ends in one sentence."""
    try:
        run(parse_args())
    except (FileNotFoundError, KeyError, ValueError) as error:
        print(f'error: {error.args[-1]}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
