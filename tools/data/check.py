# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Check manifests and their files before a run.

``python tools/data/check.py train.csv val.csv --decode --workers 8`` prints
a summary and writes ``data_check.json`` and ``data_check.html``.  Started
again it only looks at files that are new or have changed.  Exit code 1 if
there are faults.
"""

import argparse
import json
import os
import sys
from typing import Dict, List, Optional

from mmengine.fileio import list_from_file
from tqdm import tqdm

import ca2st_mm  # noqa: F401
from ca2st_mm.datasets.checking import (
    KINDS,
    Fault,
    Limits,
    Probe,
    Report,
    Sample,
    as_dict,
    as_html,
    as_text,
    check_duplicates,
    check_labels,
    probe_all,
    read_samples,
)


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('manifests', nargs='+', help='one a split')
    parser.add_argument(
        '--data-root',
        help='folder of videos; that of the first manifest if left out',
    )
    parser.add_argument(
        '--audio-root', help='folder of sounds; that of the videos if left out'
    )
    parser.add_argument('--decode', action='store_true')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        '--classes',
        nargs='+',
        default=[],
        metavar='[COLUMN=]N|FILE',
        help='number of classes or a file with a name a line, '
        "for example 'label=309', 'classes.txt' or 'verb=97 noun=300'",
    )
    parser.add_argument(
        '--train', default='train', help='name of the training split'
    )
    limits = Limits()
    parser.add_argument(
        '--min-seconds', type=float, default=limits.min_seconds
    )
    parser.add_argument(
        '--sync-seconds', type=float, default=limits.sync_seconds
    )
    parser.add_argument(
        '--ignore', nargs='*', default=[], choices=list(KINDS)
    )
    parser.add_argument(
        '--out', default='data_check', help='outputs without extension'
    )
    return parser.parse_args(argv)


def class_sizes(choices: List[str]) -> Dict[str, int]:
    """Number of classes by label column.

    Args:
        choices: What ``--classes`` got.
    """
    sizes = {}
    for choice in choices:
        column, _, value = choice.rpartition('=')
        if value.isdecimal():
            size = int(value)
        else:
            size = sum(bool(line.strip()) for line in list_from_file(value))
        sizes[column or 'label'] = size
    return sizes


def probe_with_bar(
    samples: List[Sample], limits: Limits, args: argparse.Namespace
) -> List[Probe]:
    """Probe all samples under a progress bar."""
    probes: Dict[int, Probe] = {}
    with tqdm(total=len(samples), unit='clip', desc='checking') as bar:
        notes = f'{args.out}.notes.jsonl'
        for number, probe in probe_all(samples, limits, args.workers, notes):
            probes[number] = probe
            bar.update()
    return [probes[number] for number in range(len(samples))]


def find_faults(
    samples: List[Sample], probes: List[Probe], args: argparse.Namespace
) -> List[Fault]:
    """Faults of samples and of sets."""
    splits = {sample.split for sample in samples}
    train = args.train if args.train in splits else None
    if train is None and args.classes:
        print(
            f"No manifest is called '{args.train}.csv': classes without a "
            'training sample are not looked for (see --train).'
        )
    pairs = list(zip(samples, probes, strict=True))
    faults = [fault for sample, probe in pairs for fault in probe.of(sample)]
    prints = {sample.path: probe.print for sample, probe in pairs}
    prints = {path: text for path, text in prints.items() if text}
    faults += check_labels(samples, class_sizes(args.classes), train)
    faults += check_duplicates(samples, prints)
    return [fault for fault in faults if fault.kind not in args.ignore]


def main(argv: Optional[List[str]] = None) -> int:
    """Check, write and print.

    Args:
        argv: The command line; None for that of the process.

    Returns:
        1 if there are faults, else 0.
    """
    args = parse_args(argv)
    limits = Limits(args.min_seconds, args.sync_seconds, args.decode)
    data_root = args.data_root
    if data_root is None:
        data_root = os.path.dirname(args.manifests[0])
    audio_root = args.audio_root or data_root
    samples = read_samples(args.manifests, data_root, audio_root)
    probes = probe_with_bar(samples, limits, args)
    report = Report(
        samples, probes, find_faults(samples, probes, args), limits
    )
    with open(f'{args.out}.json', 'w', encoding='utf-8') as file:
        json.dump(as_dict(report), file, indent=1)
    with open(f'{args.out}.html', 'w', encoding='utf-8') as file:
        file.write(as_html(report))
    print(as_text(report))
    print(f'details: {args.out}.json, {args.out}.html')
    return int(bool(report.faults))


if __name__ == '__main__':
    sys.exit(main())
