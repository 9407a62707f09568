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

from media_job import JobError, add_common, run


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('ann_file', help='list of spans (.csv)')
    parser.add_argument('out', help='folder of the clips')
    parser.add_argument(
        '--data-root',
        default='',
        help='folder of the videos; default: the current one',
    )
    parser.add_argument(
        '--audio-root',
        default='',
        help='folder of audio files; default: the current one',
    )
    parser.add_argument(
        '--copy',
        action='store_true',
        help='copy packets: fast and lossless; clips start at a key frame '
        'and audio files of their own are not taken over',
    )
    parser.add_argument(
        '--short-side',
        type=int,
        help='pixels of the shorter side; default: as the video',
    )
    parser.add_argument(
        '--crf',
        type=int,
        default=18,
        help='quality of H.264, lower is better; default: 18',
    )
    add_common(parser)
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
from ca2st_mm.engine.launch import run_or_explain
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
        JobError: If there is nothing to trim, or it cannot be written.
    """
    ann_file = args.ann_file
    if osp.abspath(args.out) == osp.dirname(osp.abspath(ann_file)):
        raise JobError(
            'The clips need another folder than the annotation file.'
        )
    if all(row['start'] is None and row['end'] is None for row in rows):
        raise JobError(f"'{ann_file}' has no spans: there is nothing to trim.")
    jobs: dict[str, dict] = {}
    for row in rows:
        first = jobs.setdefault(clip_name(row), row)
        if any(first[column] != row[column] for column in ('file', 'audio')):
            raise JobError(
                f"'{ann_file}', lines {first['line']} and {row['line']}: both "
                f"clips would be called '{clip_name(row)}'; put one into a "
                'annotation file of its own and cut it into another folder.'
            )
    return jobs


def write_annotations(
    args: argparse.Namespace, clips: list[str], spans: dict[str, tuple]
) -> str:
    """The annotation file of the clips.

    Args:
        args: The command line.
        clips: Name of the clip of each row.
        spans: Start and end inside a clip, by its name; rows of other clips
            are left out.

    Returns:
        Its path.
    """
    table = ListFile(args.ann_file).cells()
    _, header = next(table)
    header = [name.strip() for name in header]
    columns = [name for name in header if name not in _SPAN_COLUMNS]
    columns += ['start', 'end'] if args.copy else []
    rows = []
    for (_, cells), clip in zip(table, clips, strict=True):
        if clip in spans:
            start, end = (_second(t) for t in spans[clip])
            row = dict(zip(header, cells, strict=False))
            rows.append(row | dict(file=clip, start=start, end=end))
    path = osp.join(args.out, osp.basename(args.ann_file))
    write_texts({path: annotation_text(path, columns, rows)})
    return path


def _second(time: float | None) -> str:
    return '' if time is None else f'{time:.6f}'


def main(argv: list[str] | None = None) -> int:
    """Trim; see the top of the file."""
    args = parse_args(argv)
    rows = read_annotations(args.ann_file, {})
    jobs = jobs_of(args, rows)
    encoding = Encoding(args.short_side, args.crf)
    spans: dict[str, tuple] = {}

    def source_and_span(clip: str) -> tuple:
        row = jobs[clip]
        source = osp.join(args.data_root, row['file'])
        return source, (row['start'], row['end'])

    def make(target: str) -> None:
        clip = targets[target]
        source, span = source_and_span(clip)
        if args.copy:
            spans[clip] = copy_span(source, target, span)
            return
        audio = jobs[clip]['audio']
        audio = audio and osp.join(args.audio_root, audio)
        encode(source, target, encoding, span, audio)

    targets = {osp.join(args.out, clip): clip for clip in jobs}
    failed = run(list(targets), make, args.workers)
    for target, clip in targets.items():
        if target in failed or clip in spans:
            continue
        inside = (None, None)
        try:
            if args.copy:  # of an earlier run
                source, span = source_and_span(clip)
                inside = find_copied_span(source, target, span)
            spans[clip] = inside
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
    run_or_explain(lambda: sys.exit(main()), JobError, FileNotFoundError)
