# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Cut the spans of a manifest out of long videos into clips of their own.

``python tools/data/trim_clips.py train.csv clips --data-root videos`` writes
the clips and, next to them, ``train.csv`` with the same rows and columns that
names them; rows that could not be cut are left out and named.  Clips that are
encoded again hold their span exactly; copied ones (``--copy``) start at a key
frame, and the new manifest says where in them the span is.  An interrupted
run is resumed by starting it again.
"""

import argparse
import csv
import io
import os.path as osp
import sys

from media_job import add_common, run

from ca2st_mm.datasets.manifest import manifest_text, read_annotations
from ca2st_mm.datasets.transcode import (
    Encoding,
    copy_span,
    encode,
    find_copied_span,
)
from ca2st_mm.utils.text_files import (
    ListFileError,
    read_text,
    write_texts,
)

_SPAN_COLUMNS = ('start', 'end', 'audio')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
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
        'and audio files of their own are not taken over',
    )
    parser.add_argument('--short-side', type=int)
    parser.add_argument('--crf', type=int, default=Encoding().crf)
    add_common(parser)
    return parser.parse_args(argv)


def clip_name(row: dict) -> str:
    """Name of the clip of a row, with its span in milliseconds."""
    start = round(1000 * (row['start'] or 0))
    end = 'end' if row['end'] is None else round(1000 * row['end'])
    return f'{osp.splitext(row["file"])[0]}_{start}_{end}.mp4'


def write_manifest(
    args: argparse.Namespace, clips: list[str], spans: dict[str, tuple]
) -> str:
    """The manifest of the clips.

    Args:
        args: The command line.
        clips: Name of the clip of each row.
        spans: Start and end inside a copied clip, by its name; rows of other
            clips are left out.

    Returns:
        Its path.
    """
    text = io.StringIO(read_text(args.manifest), newline='')
    cells = list(csv.DictReader(text, skipinitialspace=True))
    columns = [c for c in cells[0] if c not in _SPAN_COLUMNS]
    columns += ['start', 'end'] if args.copy else []
    rows = []
    for row, clip in zip(cells, clips, strict=True):
        if clip in spans:
            start, end = (_second(t) for t in spans[clip])
            rows.append(row | dict(file=clip, start=start, end=end))
    path = osp.join(args.out, osp.basename(args.manifest))
    write_texts({path: manifest_text(path, columns, rows)})
    return path


def _second(time: float | None) -> str:
    return '' if time is None else f'{time:.6f}'


def main(argv: list[str] | None = None) -> int:
    """Trim; see the top of the file."""
    args = parse_args(argv)
    try:
        rows = read_annotations(args.manifest, {})
    except (ListFileError, FileNotFoundError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    if osp.abspath(args.out) == osp.dirname(osp.abspath(args.manifest)):
        print('The clips need another folder than the manifest.')
        return 2
    if all(row['start'] is None and row['end'] is None for row in rows):
        print(f"'{args.manifest}' has no spans: there is nothing to trim.")
        return 2
    clips = [clip_name(row) for row in rows]
    jobs = {osp.join(args.out, c): row for c, row in zip(clips, rows)}
    encoding = Encoding(args.short_side, args.crf)

    def make(target: str) -> None:
        row = jobs[target]
        source = osp.join(args.data_root, row['file'])
        audio = row['audio'] and osp.join(args.audio_root, row['audio'])
        span = row['start'], row['end']
        if args.copy:
            copy_span(source, target, span)
        else:
            encode(source, target, encoding, span, audio)

    failed = run(list(jobs), make, args.workers)
    spans = {}
    for clip, row in zip(clips, rows, strict=True):
        target = osp.join(args.out, clip)
        if target not in failed:
            source = osp.join(args.data_root, row['file'])
            span = row['start'], row['end']
            spans[clip] = span
            if args.copy:
                spans[clip] = find_copied_span(source, target, span)
    if not spans:
        print('No clip could be cut: no manifest is written.')
        return 1
    left_out = sum(clip not in spans for clip in clips)
    print(f'manifest: {write_manifest(args, clips, spans)}')
    if left_out:
        print(f'{left_out} of {len(rows)} rows are left out of it')
    return int(bool(failed))


if __name__ == '__main__':
    sys.exit(main())
