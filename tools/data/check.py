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
from typing import NamedTuple

from tqdm import tqdm


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'sources',
        nargs='+',
        help='a config, or one annotation file for each split',
    )
    parser.add_argument(
        '--data-root',
        help='folder of videos; that of the first annotation file if left out',
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
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count() or 1,
        help='threads; default: one for each CPU',
    )
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
    parser.add_argument(
        '--min-seconds',
        type=float,
        default=0.5,
        help='seconds; shorter clips are faults; default: 0.5',
    )
    parser.add_argument(
        '--sync-seconds',
        type=float,
        default=0.5,
        help='seconds that video and audio may lie apart; default: 0.5',
    )
    parser.add_argument(
        '--ignore',
        nargs='*',
        default=[],
        type=_kind,
        metavar='KIND',
        help='kinds of faults to leave out, as the report names them',
    )
    parser.add_argument(
        '--out',
        help='outputs without extension; default: data_check in the work_dir '
        'of the config, or in work_dirs/NAME_OF_THE_DATA',
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

from ca2st_mm.engine.launch import read_config, run_or_explain
from ca2st_mm.utils.class_names import (
    read_class_names,
    resolve_class_names,
    sizes_by_column,
)
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


class Sources(NamedTuple):
    """What is to be checked.

    Attributes:
        ann_files: One for each split.
        data_root: Folder of the videos.
        audio_root: Folder of the audio files.
        sizes: Number of classes by label column.
        missing_audio: What is done about clips without audio, ``'unread'``
            for a model without audio; None if that is unknown.
        resampled: Whether all audio is brought to one rate.
        out: Outputs without extension.
    """

    ann_files: list[str]
    data_root: str
    audio_root: str
    sizes: dict[str, int]
    missing_audio: str | None
    resampled: bool
    out: str


def sources_of_flags(args: argparse.Namespace) -> Sources:
    """The annotation files that are named."""
    root = args.data_root
    if root is None:
        root = os.path.dirname(args.sources[0])
    name = os.path.basename(os.path.abspath(root))
    return Sources(
        args.sources,
        root,
        args.audio_root or root,
        class_sizes(args.classes, args.encoding),
        None,
        False,
        args.out or os.path.join('work_dirs', name, 'data_check'),
    )


def sources_of_config(args: argparse.Namespace) -> Sources:
    """The lists of training, validation and test of a config.

    Raises:
        ListFileError: If it names no lists, or those of several folders.
    """
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
        raise ListFileError(
            f'{args.sources[0]} has lists of {len(folders)} data sets; name '
            'the annotation files of one'
        )
    data = next(iter(found.values()))
    policies = {load.get('missing_audio', 'raise') for load in loads}
    root, prefix = data.get('data_root') or '', data.get('data_prefix') or {}
    classes = data.get('classes')
    if classes is not None:
        classes = resolve_class_names(classes, root, data.get('encoding'))
    return Sources(
        [p if is_abs(p) else os.path.join(root, p) for p in found],
        args.data_root or os.path.join(root, prefix.get('video', '')),
        args.audio_root or os.path.join(root, prefix.get('audio', '')),
        class_sizes(args.classes, args.encoding)
        or sizes_by_column(data.get('num_classes'), classes),
        'raise' if 'raise' in policies else min(policies, default='unread'),
        len({load.get('sample_rate') for load in loads} - {None}) == 1,
        args.out
        or os.path.join(cfg.get('work_dir') or 'work_dirs', 'data_check'),
    )


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
    is_config = args.sources[0].endswith('.py')
    sources = (sources_of_config if is_config else sources_of_flags)(args)
    ignored = set(args.ignore)
    if sources.missing_audio in ('drop', 'silence', 'unread'):
        ignored.add('no_audio')
    if sources.missing_audio == 'unread':
        ignored |= {'silent', 'out_of_sync'}
    limits = Limits(args.min_seconds, args.sync_seconds, args.decode)
    samples = read_samples(
        sources.ann_files, sources.data_root, sources.audio_root, args.encoding
    )
    train = args.train if args.train in {s.split for s in samples} else None
    if train is None and sources.sizes:
        print(
            f"No annotation file is called '{args.train}.csv': classes "
            'without a training sample are not looked for (see --train).'
        )
    probes: dict[int, Probe] = {}
    os.makedirs(os.path.dirname(sources.out) or '.', exist_ok=True)
    notes = f'{sources.out}.notes.jsonl'
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
    faults += check_labels(samples, sources.sizes, train)
    faults += check_repeats(samples, {s.path: p.print for s, p in pairs})
    faults = [fault for fault in faults if fault.kind not in ignored]
    report = Report(
        pairs,
        faults,
        limits,
        sources.missing_audio,
        sources.resampled,
    )
    outputs = {
        f'{sources.out}.json': json.dumps(as_dict(report), indent=1),
        f'{sources.out}.html': as_html(report),
    }
    write_texts(outputs)
    print(as_text(report))
    print(f'details: {", ".join(outputs)}')
    return int(bool(faults))


if __name__ == '__main__':
    run_or_explain(lambda: sys.exit(main()), FileNotFoundError)
