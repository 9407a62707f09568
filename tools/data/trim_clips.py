# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Cut the spans of an annotation file out of long videos, a clip each.

``ca2st data trim-clips train.csv clips --data-root videos`` writes
the clips and, next to them, ``train.csv`` with the same rows and columns that
names them; rows that could not be cut are left out and named.  Clips that are
encoded again hold their span exactly; copied ones (``--copy``) start at a key
frame, and the new annotation file says where in them the span is.  An
interrupted run is resumed by starting it again.
"""

import argparse
import os.path as osp
import sys
from pathlib import PurePath

from media_job import job_parser, run, whole


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = job_parser(__doc__)
    add = parser.add_argument
    add('ann_file', help='list of spans (.csv)')
    add('out', help='folder of the clips')
    add('--data-root', default='', help='folder of the videos')
    add('--audio-root', default='', help='folder of audio files')
    add(
        '--copy',
        action='store_true',
        help='copy packets: fast and lossless; clips start at a key frame '
        'and audio files of their own are not taken over',
    )
    add('--short-side', type=whole, help='pixels; as the video if left out')
    add('--crf', type=int, default=18, help='of H.264; lower is better')
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

from ca2st_mm.datasets.annotations import annotation_text, read_annotations
from ca2st_mm.datasets.faults import SampleFault
from ca2st_mm.datasets.list_files import ListFile
from ca2st_mm.datasets.transcode import (
    Encoding,
    copy_span,
    encode,
    find_copied_span,
)
from ca2st_mm.engine.launch import UsageError, run_or_explain
from ca2st_mm.utils.text_files import write_texts

_SPAN_COLUMNS = ('start', 'end', 'audio')


def clip_name(row: dict) -> str:
    """Path of the clip of a row below the output folder.

    It is that of the video, without what leads out of the folder, and the
    span in milliseconds.
    """
    path = PurePath(osp.splitext(row['file'])[0])
    parts = [part for part in path.parts if part not in (path.anchor, '..')]
    start = round(1000 * (row['start'] or 0))
    end = 'end' if row['end'] is None else round(1000 * row['end'])
    return f'{"/".join(parts)}_{start}_{end}.mp4'


def jobs_of(args: argparse.Namespace, rows: list[dict]) -> dict[str, dict]:
    """The first row of each clip, by its name.

    Raises:
        UsageError: If there is nothing to trim, or it cannot be written.
    """
    ann_file = args.ann_file
    if osp.abspath(args.out) == osp.dirname(osp.abspath(ann_file)):
        raise UsageError(
            'The clips need another folder than the annotation file.'
        )
    if all(row['start'] is None and row['end'] is None for row in rows):
        raise UsageError(
            f"'{ann_file}' has no spans: there is nothing to trim."
        )
    jobs: dict[str, dict] = {}
    for row in rows:
        first = jobs.setdefault(clip_name(row), row)
        if any(first[column] != row[column] for column in ('file', 'audio')):
            raise UsageError(
                f"'{ann_file}', lines {first['line']} and {row['line']}: both "
                f"clips would be called '{clip_name(row)}'; put one into a "
                'annotation file of its own and cut it into another folder.'
            )
    return jobs


def write_annotations(
    args: argparse.Namespace, clips: list[str], spans: dict[str, tuple]
) -> str:
    """Write the annotation file of the clips; its path.

    ``clips`` has the name of the clip of each row, ``spans`` start and end
    inside a clip by its name; rows of other clips are left out.
    """
    table = ListFile(args.ann_file).cells()
    _, header = next(table)
    header = [name.strip() for name in header]
    columns = [name for name in header if name not in _SPAN_COLUMNS]
    columns += ['start', 'end'] if args.copy else []
    rows = []
    for (_, cells), clip in zip(table, clips, strict=True):
        if clip in spans:
            start, end = (
                '' if second is None else f'{second:.6f}'
                for second in spans[clip]
            )
            row = dict(zip(header, cells, strict=False))
            rows.append(row | dict(file=clip, start=start, end=end))
    path = osp.join(args.out, osp.basename(args.ann_file))
    write_texts({path: annotation_text(path, columns, rows)})
    return path


def main(argv: list[str] | None = None) -> int:
    """Trim; see the top of the file."""
    args = parse_args(argv)
    rows = read_annotations(args.ann_file, {})
    jobs = jobs_of(args, rows)
    encoding = Encoding(args.short_side, args.crf)
    targets = {osp.join(args.out, clip): clip for clip in jobs}
    spans: dict[str, tuple] = {}

    def make(target: str, there: bool = False) -> None:
        """Cut a clip, or note the span of one that is there."""
        row = jobs[targets[target]]
        source = osp.join(args.data_root, row['file'])
        span, inside = (row['start'], row['end']), (None, None)
        if args.copy:
            cut = find_copied_span if there else copy_span
            inside = cut(source, target, span)
        elif not there:
            audio = row['audio'] and osp.join(args.audio_root, row['audio'])
            encode(source, target, encoding, span, audio)
        spans[targets[target]] = inside

    failed = run(list(targets), make, args.workers)
    for target, clip in targets.items():
        if target not in failed and clip not in spans:
            try:
                make(target, there=True)
            except SampleFault as fault:
                print(fault, file=sys.stderr)
    if not spans:
        print('No clip could be cut: no annotation file is written.')
        return 1
    clips = [clip_name(row) for row in rows]
    left_out = sum(clip not in spans for clip in clips)
    print(f'annotation file: {write_annotations(args, clips, spans)}')
    if left_out:
        print(f'{left_out} of {len(rows)} rows are left out of it')
    return int(bool(left_out))


if __name__ == '__main__':
    run_or_explain(lambda: sys.exit(main()), FileNotFoundError)
