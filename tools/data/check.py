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
import warnings

from tqdm import tqdm


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('manifests', nargs='+', help='one for each split')
    parser.add_argument(
        '--data-root',
        help='folder of videos; that of the first manifest if left out',
    )
    parser.add_argument(
        '--audio-root',
        help='folder of audio files; that of the videos if left out',
    )
    parser.add_argument(
        '--decode',
        action='store_true',
        help='decode frames and audio; without it only headers are read',
    )
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        '--classes',
        nargs='+',
        default=[],
        metavar='[COLUMN=]N|FILE',
        help='number of classes or a file with one name a line, '
        "for example 'label=309', 'classes.txt' or 'verb=97 noun=300'",
    )
    parser.add_argument(
        '--train', default='train', help='name of the training split'
    )
    parser.add_argument(
        '--encoding', help='of lists that are not UTF-8, such as gbk'
    )
    parser.add_argument('--min-seconds', type=float, default=0.5)
    parser.add_argument('--sync-seconds', type=float, default=0.5)
    parser.add_argument(
        '--ignore',
        nargs='*',
        default=[],
        type=_kind,
        metavar='KIND',
        help='kinds of faults to leave out, as the report names them',
    )
    parser.add_argument(
        '--out', default='data_check', help='outputs without extension'
    )
    return parser.parse_args(argv)


def _kind(name: str) -> str:
    """A kind of fault; its old name is accepted until version 0.2."""
    if name == 'no_sound':
        warnings.warn('--ignore no_sound is now no_audio', stacklevel=2)
        return 'no_audio'
    return name


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import ca2st_mm  # noqa: F401
from ca2st_mm.datasets.check import (
    KINDS,
    Limits,
    Probe,
    Report,
    as_dict,
    as_html,
    as_text,
    check_labels,
    check_repeats,
    probe_all,
    read_samples,
)
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.utils.class_names import read_class_names
from ca2st_mm.utils.text_files import ListFileError, write_texts


def class_sizes(choices: list[str], encoding: str | None) -> dict[str, int]:
    """Number of classes by label column.

    Args:
        choices: What ``--classes`` got.
        encoding: Fallback for class lists that are not UTF-8.
    """
    sizes = {}
    for choice in choices:
        column, _, value = choice.rpartition('=')
        sizes[column or 'label'] = (
            int(value)
            if value.isdecimal()
            else len(read_class_names(value, encoding))
        )
    return sizes


def main(argv: list[str] | None = None) -> int:
    """Check, write and print.

    Args:
        argv: The command line; None for that of the process.

    Returns:
        1 if there are faults, else 0.
    """
    args = parse_args(argv)
    if unknown := set(args.ignore) - set(KINDS):
        raise ListFileError(
            f'--ignore knows {", ".join(KINDS)}, but not '
            f'{", ".join(sorted(unknown))}'
        )
    limits = Limits(args.min_seconds, args.sync_seconds, args.decode)
    data_root = args.data_root
    if data_root is None:
        data_root = os.path.dirname(args.manifests[0])
    audio_root = args.audio_root or data_root
    sizes = class_sizes(args.classes, args.encoding)
    samples = read_samples(
        args.manifests, data_root, audio_root, args.encoding
    )
    train = args.train if args.train in {s.split for s in samples} else None
    if train is None and sizes:
        print(
            f"No manifest is called '{args.train}.csv': classes without a "
            'training sample are not looked for (see --train).'
        )
    probes: dict[int, Probe] = {}
    notes = f'{args.out}.notes.jsonl'
    with tqdm(total=len(samples), unit='clip', desc='checking') as bar:
        for number, probe in probe_all(samples, limits, args.workers, notes):
            probes[number] = probe
            bar.update()
    pairs = [(sample, probes[i]) for i, sample in enumerate(samples)]
    faults = [fault for sample, probe in pairs for fault in probe.of(sample)]
    faults += check_labels(samples, sizes, train)
    faults += check_repeats(samples, {s.path: p.print for s, p in pairs})
    faults = [fault for fault in faults if fault.kind not in args.ignore]
    report = Report(samples, [probe for _, probe in pairs], faults, limits)
    outputs = {
        f'{args.out}.json': json.dumps(as_dict(report), indent=1),
        f'{args.out}.html': as_html(report),
    }
    write_texts(outputs)
    print(as_text(report))
    print(f'details: {", ".join(outputs)}')
    return int(bool(faults))


if __name__ == '__main__':
    run_or_explain(
        lambda: sys.exit(main()), (ListFileError, FileNotFoundError)
    )
