# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Make a checkpoint of training ready to share.

Strips the optimizer and adds facts (config, class names, licence). Writes a
folder with a model card, as ``save_pretrained`` does, or one file with the
first digits of its SHA-256 in the name, which also has the SHA-256 of the
source and what text the training stored::

    ca2st publish work_dirs/cast_k400/epoch_70.pth weights/cast_k400 \\
        --licence 'CC BY-NC 4.0 (trained from VideoMAE)'
    ca2st publish work_dirs/cast_k400/epoch_70.pth weights/cast_k400.pth
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from common_flags import new_parser


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument('checkpoint', help='what training wrote, or its name')
    parser.add_argument(
        'out', help='folder, or file ending in .safetensors, .pth or .pt'
    )
    parser.add_argument(
        '--config', help='config of the model, if the checkpoint has none'
    )
    parser.add_argument(
        '--delta',
        action='store_true',
        help='leave out the frozen weights of the experts',
    )
    parser.add_argument(
        '--licence',
        default='unknown',
        help='terms of these weights; those of the experts go with them',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Write the folder or the file and say how large it is."""
    from ca2st_mm.apis import get_model, save_pretrained
    from ca2st_mm.checkpoints import read_checkpoint
    from ca2st_mm.checkpoints.files import write_checkpoint
    from ca2st_mm.utils.files import sha256_of

    model, out = get_model(args.checkpoint, config=args.config), Path(args.out)
    options = dict(delta=args.delta, licence=args.licence)
    if out.suffix not in ('.safetensors', '.pth', '.pt'):
        folder = save_pretrained(model, out, **options)
        size = sum(path.stat().st_size for path in folder.iterdir())
    else:
        facts, source = {}, Path(args.checkpoint)
        if source.is_file():
            facts = dict(read_checkpoint(source).get('meta') or {})
            facts.pop('cfg', None)  # `config` of what is written
            if isinstance(frozen := facts.get('frozen_experts'), dict):
                facts['frozen_experts'] = json.dumps(frozen)
            facts = {k: v for k, v in facts.items() if isinstance(v, str)}
            facts['source_sha256'] = sha256_of(source)
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent) as folder:
            stored = read_checkpoint(save_pretrained(model, folder, **options))
            whole = Path(folder, f'whole{out.suffix}')
            facts |= stored['meta']
            write_checkpoint(whole, stored['state_dict'], facts)
            digits = sha256_of(whole)[:8]
            out = whole.replace(out.with_stem(f'{out.stem}-{digits}'))
        size = out.stat().st_size
    print(f'{size / 1e6:.1f} MB written to {out}')


if __name__ == '__main__':
    # Importing torch takes seconds, so flags are read before.
    flags = parse_args()
    from ca2st_mm.engine.launch import run_or_explain

    run_or_explain(lambda: main(flags), FileNotFoundError, ValueError)
