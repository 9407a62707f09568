# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""One result of several: a mean of numbers, or of the scores of clips.

The mean over UCF-101's splits, and the harmonic mean by which the CAST paper
measures balance over benchmarks::

    ca2st report combine-results --mean arithmetic \\
        split1/results.json:acc/top1 split2/results.json:acc/top1 ...
    ca2st report combine-results --mean harmonic \\
        ek100/results.json:acc/verb_top1 ek100/results.json:acc/noun_top1 \\
        ssv2/results.json:acc/top1 k400/results.json:acc/top1

A test-time ensemble, of dumps of ``tools/test.py --dump`` for the same
clips; the file it writes is such a dump, too::

    ca2st report combine-results --scores ensemble.pkl \\
        clip.pkl videomae.pkl
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, harmonic_mean

from reports import new_parser

MEANS = dict(arithmetic=fmean, harmonic=harmonic_mean)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='FILE:METRIC or DUMP.pkl',
        help='numbers of results.json for --mean, dumps of tests for --scores',
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument('--mean', choices=MEANS, help='mean of the numbers')
    how.add_argument(
        '--scores', metavar='OUT.pkl', help='average the scores of each clip'
    )
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import numpy as np
import torch
from mmengine.fileio import dump, load
from result_files import KEYS, read_comparable, read_number, read_scores

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.evaluation.clip_metrics import is_readable, scores_of


def average_scores(dumps: Sequence[str | Path], path: str | Path) -> None:
    """Average the scores of each clip over models, and write a dump.

    Clips that one of the models could not read are left out.

    Raises:
        FigureInputError: If they are not of the same clips and classes.
    """
    read_comparable([f'{i}={name}' for i, name in enumerate(dumps)])
    averaged = []
    for samples in zip(*(load(str(name)) for name in dumps), strict=True):
        if not all(map(is_readable, samples)):
            continue
        mean = dict(samples[0])
        for key in set(KEYS.values()) & set(mean):
            scores = np.mean([scores_of(s, key) for s in samples], axis=0)
            mean[key] = torch.from_numpy(scores)
        averaged.append(mean)
    dump(averaged, str(path))


def top1_of(path: str | Path) -> dict[str, float]:
    """Top-1 accuracy in a dump: 'top1', or 'verb', 'noun' and 'action'."""
    found = read_scores(path)
    right = {task: found.hits(task) for task in found.scores}
    if 'label' in right:
        right['top1'] = right.pop('label')
    else:
        right['action'] = np.logical_and(*right.values())
    return {task: float(hits.mean()) for task, hits in right.items()}


def main() -> None:
    """Combine as the arguments say."""
    args = parse_args()
    if args.scores:
        average_scores(args.inputs, args.scores)
        for path in (*args.inputs, args.scores):
            numbers = top1_of(path).items()
            text = ', '.join(f'{task} {value:.4f}' for task, value in numbers)
            print(f'{text}  {path}')
        return
    values = [read_number(text) for text in args.inputs]
    for text, value in zip(args.inputs, values, strict=True):
        print(f'{value:.4f}  {text}')
    print(f'{MEANS[args.mean](values):.4f}  {args.mean} mean')


if __name__ == '__main__':
    run_or_explain(main)
