# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A qualitative sheet: frames of clips, the truth, the answers of models.

From dumps of ``tools/test.py --dump``, the model to show last::

    python tools/visualize/sheet.py CLIP=clip.pkl VideoMAE=videomae.pkl \\
        CAST=cast.pkl --classes epic_kitchens_100_verb \\
        --classes epic_kitchens_100_noun --pick gained
"""

import argparse
import os.path as osp

import ca2st_mm  # noqa: F401  (mends and registers, so it comes first)
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.datasets.manifest import read_annotations
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.visualization.class_labels import class_labels
from ca2st_mm.visualization.frames import read_pictures
from ca2st_mm.visualization.named_files import named_files
from ca2st_mm.visualization.scores import Scores, read_scores
from ca2st_mm.visualization.sheet import (
    PICKS,
    answers_to,
    draw_sheet,
    pick_clips,
)
from ca2st_mm.visualization.style import FigureInputError, save


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('dumps', nargs='+', metavar='NAME=DUMP.pkl')
    parser.add_argument(
        '--classes',
        action='append',
        help='file with a name a line, or a shipped list; for verbs and '
        'nouns once each',
    )
    parser.add_argument(
        '--pick',
        choices=PICKS,
        default='gained',
        help='clips that only the last model gets right (gained), that it '
        'gets wrong and another right (lost), that none gets right (hard) '
        'or all (easy)',
    )
    parser.add_argument(
        '--manifest',
        help='the list of the test: where the clips are and, in untrimmed '
        'files, from when to when (default: what the dumps say)',
    )
    parser.add_argument(
        '--data-root', default='', help='folder of the files in --manifest'
    )
    parser.add_argument('--clips', type=int, default=4, help='how many rows')
    parser.add_argument('--frames', type=int, default=6, help='of each clip')
    parser.add_argument('--out', default='sheet.png')
    args = parser.parse_args()
    if args.clips < 1 or args.frames < 1:
        parser.error('--clips and --frames are at least 1')
    return args


def clips_of(
    results: list[Scores], args: argparse.Namespace
) -> list[tuple[str, tuple[float | None, float | None]]]:
    """File and span of every clip.

    Raises:
        FigureInputError: If neither the dumps nor a manifest tell.
    """
    if args.manifest:
        try:
            rows = read_annotations(args.manifest, {})
        except (FileNotFoundError, ValueError) as error:
            raise FigureInputError(f'--manifest: {error}') from error
        if len(rows) != len(results[0]):
            raise FigureInputError(
                f'{args.manifest} lists {len(rows)} clips, but '
                f'{results[0].path} holds {len(results[0])}; give the list '
                'of the test'
            )
        return [
            (osp.join(args.data_root, r['file']), (r['start'], r['end']))
            for r in rows
        ]
    for result in results:
        if result.files:
            return [(file, (None, None)) for file in result.files]
    raise FigureInputError(
        'the dumps do not say which files the clips are (meta_keys of the '
        'config without filename); give --manifest and --data-root'
    )


def main() -> None:
    """Pick and draw as the arguments say."""
    args = parse_args()
    results = {n: read_scores(p) for n, p in named_files(args.dumps).items()}
    chosen = pick_clips(results, args.pick, args.clips)
    first = next(iter(results.values()))
    listed = args.classes or [None] * len(first.scores)
    if len(listed) != len(first.scores):
        raise FigureInputError(
            f'give --classes for each of {" and ".join(first.scores)}'
        )
    names = {
        task: class_labels(text, scores.shape[1])
        for text, (task, scores) in zip(
            listed, first.scores.items(), strict=True
        )
    }
    places = clips_of(list(results.values()), args)
    rows = []
    for clip in chosen:
        path, span = places[clip]
        pictures = read_pictures(path, args.frames, span)
        rows.append((path, pictures, *answers_to(clip, results, names)))
    save(draw_sheet(rows), args.out)
    print(args.out)


if __name__ == '__main__':
    run_or_explain(main, (FigureInputError, MediaError, FileNotFoundError))
