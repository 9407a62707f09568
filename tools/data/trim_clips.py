# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Cut the spans of a manifest out of long videos into clips of their own.

``python tools/data/trim_clips.py train.csv clips --data-root videos`` writes
the clips and, beside them, ``train.csv`` with the same rows and columns that
names them.  Clips that are encoded again hold their span exactly; copied ones
(``--copy``) start at a key frame, and the new manifest says where in them the
span lies.  Started again it goes on.
"""

import argparse
import csv
import os.path as osp
import sys
from typing import Dict, List, Optional, Tuple

from media_job import add_common, run
from mmengine.utils import mkdir_or_exist

from ca2st_mm.datasets.copy_span import copied_start, copy_span
from ca2st_mm.datasets.manifest import read_annotations
from ca2st_mm.datasets.transcode import Encoding, encode

_SPAN_COLUMNS = ('start', 'end', 'audio')


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('manifest')
    parser.add_argument('out', help='folder of the clips')
    parser.add_argument('--data-root', default='')
    parser.add_argument('--audio-root', default='')
    parser.add_argument(
        '--copy',
        action='store_true',
        help='copy packets: fast and lossless; clips start at a key frame '
        'and sound files of their own are not taken over',
    )
    parser.add_argument('--short-side', type=int)
    parser.add_argument('--crf', type=int, default=Encoding().crf)
    add_common(parser)
    return parser.parse_args(argv)


def clip_name(row: Dict) -> str:
    """Name of the clip of a row, with its span in milliseconds."""
    start = round(1000 * (row['start'] or 0))
    end = 'end' if row['end'] is None else round(1000 * row['end'])
    return f'{osp.splitext(row["file"])[0]}_{start}_{end}.mp4'


def inside_copy(args: argparse.Namespace, row: Dict) -> Dict:
    """Where the span of a row lies in its copied clip."""
    span = row['start'], row['end']
    first = copied_start(osp.join(args.data_root, row['file']), span)
    start, end = ((t or 0.0) - first for t in span)
    end = '' if row['end'] is None else f'{end:.6f}'
    return dict(start=f'{max(start, 0.0):.6f}', end=end)


def write_manifest(
    args: argparse.Namespace, rows: List[Dict], names: List[str]
) -> str:
    """The manifest of the clips.

    Args:
        args: The command line.
        rows: What the manifest says.
        names: Name of the clip of each row.

    Returns:
        Its path.
    """
    with open(args.manifest, newline='', encoding='utf-8-sig') as file:
        cells = list(csv.DictReader(file, skipinitialspace=True))
    columns = [c for c in cells[0] if c not in _SPAN_COLUMNS]
    spans = [{}] * len(rows)
    if args.copy:
        columns += ['start', 'end']
        spans = [inside_copy(args, row) for row in rows]
    mkdir_or_exist(args.out)
    path = osp.join(args.out, osp.basename(args.manifest))
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(
            file, columns, extrasaction='ignore', lineterminator='\n'
        )
        writer.writeheader()
        for row, span, name in zip(cells, spans, names, strict=True):
            writer.writerow(row | dict(file=name) | span)
    return path


def main(argv: Optional[List[str]] = None) -> int:
    """Trim; see the top of the file."""
    args = parse_args(argv)
    rows = read_annotations(args.manifest, {})
    if osp.abspath(args.out) == osp.dirname(osp.abspath(args.manifest)):
        print('The clips need another folder than the manifest.')
        return 2
    if all(row['start'] is None and row['end'] is None for row in rows):
        print(f"'{args.manifest}' has no spans: there is nothing to trim.")
        return 2
    names = [clip_name(row) for row in rows]
    jobs = {
        osp.join(args.out, name): row
        for name, row in zip(names, rows, strict=True)
    }
    encoding = Encoding(args.short_side, args.crf)

    def files(row: Dict) -> Tuple[str, Optional[str]]:
        audio = row['audio'] and osp.join(args.audio_root, row['audio'])
        return osp.join(args.data_root, row['file']), audio

    def cut(target: str) -> None:
        row = jobs[target]
        source, audio = files(row)
        encode(source, target, encoding, (row['start'], row['end']), audio)

    def copy(target: str) -> None:
        row = jobs[target]
        copy_span(files(row)[0], target, (row['start'], row['end']))

    code = run(list(jobs), copy if args.copy else cut, args.workers)
    if code:
        print('No manifest is written: mend these files, or take them out.')
        return code
    print(f'manifest: {write_manifest(args, rows, names)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
