# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Check the data of a config, or annotation files, before a run.

``ca2st data check CONFIG --decode`` takes lists, folders, classes
and what is done about clips without audio from the config, and writes
``data_check.json`` and ``data_check.html`` into its work_dir.  Lists do as
well: ``ca2st data check train.csv val.csv --classes classes.txt``.
Started again it only looks at files that are new or have changed.  Exit code 1
if there are faults.
"""

import argparse
import json
import os
import sys
import warnings

from media_job import job_parser
from tqdm import tqdm


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = job_parser(__doc__)
    add = parser.add_argument
    add(
        'sources',
        nargs='+',
        help='a config, or one annotation file for each split',
    )
    add('--data-root', help='of videos; that of the first list if left out')
    add('--audio-root', help='of audio files; as the videos if left out')
    add(
        '--decode',
        action='store_true',
        help='decode frames and audio; without it only headers are read',
    )
    add(
        '--classes',
        nargs='+',
        default=[],
        metavar='[COLUMN=]N|FILE',
        help='number of classes or a file with one name a line, '
        "for example 'label=309', 'classes.txt' or 'verb=97 noun=300'",
    )
    add('--train', default='train', help='name of the training split')
    add('--encoding', help='of lists that are not UTF-8, such as gbk')
    add(
        '--min-seconds',
        type=float,
        default=0.5,
        help='seconds; shorter clips are faults',
    )
    add(
        '--sync-seconds',
        type=float,
        default=0.5,
        help='seconds that video and audio may lie apart',
    )
    add(
        '--ignore',
        nargs='*',
        default=[],
        type=_kind,
        metavar='KIND',
        help='kinds of faults to leave out, as the report names them',
    )
    add(
        '--out',
        help='outputs without extension; data_check in the work_dir of the '
        'config, or in work_dirs/NAME_OF_THE_DATA, if left out',
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

from check_lists import (
    KINDS,
    Fault,
    check_labels,
    check_repeats,
    read_samples,
)
from check_media import Limits, Probe, probe_all
from check_report import Report, as_dict, as_html, as_text
from mmengine.utils import is_abs

from ca2st_mm.engine.launch import UsageError, read_config, run_or_explain
from ca2st_mm.utils.class_names import (
    read_class_names,
    resolve_class_names,
    sizes_by_column,
)
from ca2st_mm.utils.text_files import write_texts


def class_sizes(choices: list[str], encoding: str | None) -> dict[str, int]:
    """Number of classes by label column, from what ``--classes`` got."""
    sizes = {}
    for choice in choices:
        column, _, value = choice.rpartition('=')
        sizes[column or 'label'] = (
            int(value)
            if value.isdecimal()
            else len(read_class_names(value, encoding))
        )
    return sizes


def find_lists(args: argparse.Namespace) -> None:
    """Fill in what the flags leave to the config or to the lists themselves.

    ``ann_files``: one for each split.  ``sizes``: number of classes by label
    column.  ``missing_audio``: what is done about clips without audio,
    'unread' for a model without audio, None if that is unknown.
    ``resampled``: whether all audio is brought to one rate.

    Raises:
        UsageError: If a config names no lists, or those of several folders.
    """
    args.ann_files = args.sources
    args.missing_audio, args.resampled = None, False
    args.sizes = class_sizes(args.classes, args.encoding)
    if args.sources[0].endswith('.py'):
        find_lists_of_config(args)
    if args.data_root is None:
        args.data_root = os.path.dirname(args.sources[0])
    if args.audio_root is None:
        args.audio_root = args.data_root
    name = os.path.basename(os.path.abspath(args.data_root))
    args.out = args.out or os.path.join('work_dirs', name, 'data_check')


def find_lists_of_config(args: argparse.Namespace) -> None:
    """The lists of training, validation and test of a config."""
    cfg = read_config(args.sources[0], whole=False)
    found, loads = {}, []
    for split in ('train', 'val', 'test'):
        data = cfg.get(f'{split}_dataloader') or {}
        while 'dataset' in data:
            data = data['dataset']
        if 'ann_file' in data:
            found.setdefault(data['ann_file'], data)
            steps = data.get('pipeline', ())
            loads += [s for s in steps if s['type'] == 'LoadAudio']
    folders = {
        (d.get('data_root') or '', *(d.get('data_prefix') or {}).items())
        for d in found.values()
    }
    if len(folders) != 1:
        raise UsageError(
            f'{args.sources[0]} has lists of {len(folders)} data sets; name '
            'the annotation files of one'
        )
    data = next(iter(found.values()))
    root, prefix = data.get('data_root') or '', data.get('data_prefix') or {}
    args.ann_files = [p if is_abs(p) else os.path.join(root, p) for p in found]
    for flag, kind in (('data_root', 'video'), ('audio_root', 'audio')):
        folder = os.path.join(root, prefix.get(kind, ''))
        setattr(args, flag, getattr(args, flag) or folder)
    classes = data.get('classes')
    if classes is not None:
        classes = resolve_class_names(classes, root, data.get('encoding'))
    args.sizes = args.sizes or sizes_by_column(
        data.get('num_classes'), classes
    )
    policies = {load.get('missing_audio', 'raise') for load in loads}
    policy = 'raise' if 'raise' in policies else min(policies, default=None)
    args.missing_audio = policy or 'unread'
    rates = {load.get('sample_rate') for load in loads} - {None}
    args.resampled = len(rates) == 1
    folder = cfg.get('work_dir') or 'work_dirs'
    args.out = args.out or os.path.join(folder, 'data_check')


def main(argv: list[str] | None = None) -> int:
    """Check, write and print; 1 if there are faults, else 0."""
    args = parse_args(argv)
    if unknown := set(args.ignore) - set(KINDS):
        raise UsageError(
            f'--ignore knows {", ".join(KINDS)}, but not '
            f'{", ".join(sorted(unknown))}'
        )
    find_lists(args)
    ignored = set(args.ignore)
    if args.missing_audio in ('drop', 'silence', 'unread'):
        ignored.add('no_audio')
    if args.missing_audio == 'unread':
        ignored |= {'silent', 'out_of_sync'}
    limits = Limits(args.min_seconds, args.sync_seconds, args.decode)
    samples = read_samples(
        args.ann_files, args.data_root, args.audio_root, args.encoding
    )
    train = args.train if args.train in {s.split for s in samples} else None
    if train is None and args.sizes:
        print(
            f"No annotation file is called '{args.train}.csv': classes "
            'without a training sample are not looked for (see --train).'
        )
    probes: dict[int, Probe] = {}
    os.makedirs(os.path.dirname(args.out) or '.', exist_ok=True)
    notes = f'{args.out}.notes.jsonl'
    bar = tqdm(total=len(samples), unit='clip', desc='checking', disable=None)
    with bar:
        for number, probe in probe_all(samples, limits, args.workers, notes):
            probes[number] = probe
            bar.update()
    pairs = [(sample, probes[i]) for i, sample in enumerate(samples)]
    faults = [
        Fault(kind, sample.split, sample.path, detail)
        for sample, probe in pairs
        for kind, detail in probe.faults
    ]
    faults += check_labels(samples, args.sizes, train)
    faults += check_repeats(samples, {s.path: p.print for s, p in pairs})
    faults = [fault for fault in faults if fault.kind not in ignored]
    report = Report(pairs, faults, limits, args.missing_audio, args.resampled)
    outputs = {
        f'{args.out}.json': json.dumps(as_dict(report), indent=1),
        f'{args.out}.html': as_html(report),
    }
    write_texts(outputs)
    print(as_text(report))
    print(f'details: {", ".join(outputs)}')
    return int(bool(faults))


if __name__ == '__main__':
    run_or_explain(lambda: sys.exit(main()), FileNotFoundError)
