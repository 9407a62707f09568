# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Features of videos: of each expert, fused, and tokens of any layer.

    python tools/extract_features.py CONFIG CHECKPOINT clips/*.mp4 \
        --per second --out features
    python tools/extract_features.py CONFIG CHECKPOINT data/mine/val.csv \
        --layer 5 11 --format safetensors --out features

Each clip becomes one file with a row for the clip or for each of its
seconds.  A clip whose file is there already is skipped; a bad one is named
at the end, and the exit status is 1.
"""

import argparse
import sys

from mmengine.config import Config
from tqdm import tqdm


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config', help='config of the model')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument(
        'sources', nargs='+', help='media files, or manifests (.csv, .txt)'
    )
    parser.add_argument('--out', required=True, help='folder to write to')
    parser.add_argument('--per', choices=('clip', 'second'), default='clip')
    parser.add_argument(
        '--format', choices=('npz', 'safetensors'), default='npz'
    )
    parser.add_argument(
        '--layer',
        type=int,
        nargs='+',
        default=(),
        help='layers, from 0, whose tokens are stored as well',
    )
    parser.add_argument(
        '--data-root',
        help='folder that the files in a manifest are relative to; that of '
        'the manifest if left out',
    )
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args()
    if args.batch_size < 1:
        parser.error('--batch-size is at least 1')
    return args


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

from ca2st_mm import Recognizer
from ca2st_mm.apis.features import (
    check_layers,
    clips_of,
    write_features,
)
from ca2st_mm.engine.launch import run_or_explain, usable_device
from ca2st_mm.utils.hashing import sha256_of_bytes, sha256_of_tensors
from ca2st_mm.zoo import ZooError


def main() -> None:
    """Write all features, then say what went wrong."""
    args = parse_args()
    device = usable_device(args.device)
    clips = clips_of(args.sources, args.data_root)
    config = Config.fromfile(args.config)
    recognizer = Recognizer.from_config(config, args.checkpoint, device)
    check_layers(recognizer.model.backbone, args.layer)
    reports = write_features(
        recognizer,
        clips,
        args.out,
        args.per,
        args.format,
        args.layer,
        args.batch_size,
        dict(
            config=sha256_of_bytes(config.pretty_text.encode()),
            weights=sha256_of_tensors(recognizer.model.state_dict()),
        ),
    )
    faults, skipped = [], 0
    for done in tqdm(reports, total=len(clips), unit='clip'):
        skipped += done.skipped
        if done.fault:
            faults.append(done.fault)
    made = len(clips) - skipped - len(faults)
    print(f'{made} made, {skipped} there before, {len(faults)} failed')
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        sys.exit(1)


if __name__ == '__main__':
    run_or_explain(main, (FileNotFoundError, ValueError, ZooError))
