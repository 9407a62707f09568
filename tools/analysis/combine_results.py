# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""One number of several results: the mean over splits, or the balance.

The mean over UCF-101's splits, and the harmonic mean by which the CAST paper
measures balance over benchmarks::

    python tools/analysis/combine_results.py --mean arithmetic \\
        split1/results.json:acc/top1 split2/results.json:acc/top1 ...
    python tools/analysis/combine_results.py --mean harmonic \\
        ek100/results.json:acc/verb_top1 ek100/results.json:acc/noun_top1 \\
        ssv2/results.json:acc/top1 k400/results.json:acc/top1
"""

import argparse
from statistics import fmean, harmonic_mean

MEANS = dict(arithmetic=fmean, harmonic=harmonic_mean)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description='Combine several results.')
    parser.add_argument('numbers', nargs='+', metavar='FILE:METRIC')
    parser.add_argument('--mean', choices=MEANS, required=True)
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.utils.records import RecordError, read_number


def main() -> None:
    """Combine as the arguments say."""
    args = parse_args()
    values = [read_number(text) for text in args.numbers]
    for text, value in zip(args.numbers, values, strict=True):
        print(f'{value:.4f}  {text}')
    print(f'{MEANS[args.mean](values):.4f}  {args.mean} mean')


if __name__ == '__main__':
    run_or_explain(main, (RecordError,))
