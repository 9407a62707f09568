# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the ``prepare.py`` of all benchmarks run."""

import argparse
import importlib.util
from pathlib import Path

import yaml
from media_job import new_parser


def parse_args(name: str, argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    # Found, not imported: importing the package takes seconds.
    package = Path(importlib.util.find_spec('ca2st_mm').origin).parent
    known = (package / 'datasets/benchmarks/benchmarks.yml').read_text('utf-8')
    facts = yaml.safe_load(known)[name]
    folder = f'data/{facts.get("folder", name)}'
    parser = new_parser(f'Write the annotation files of {facts["title"]}.')
    add = parser.add_argument
    add(
        '--annotations',
        default=f'{folder}/annotations',
        help='folder of the published lists',
    )
    add('--videos', default=f'{folder}/videos', help='searched at any depth')
    add('--out', default=folder, help='folder for the annotation files')
    add(
        '--list',
        dest='lists',
        metavar='SPLIT=FILE',
        action='append',
        default=[],
        help='annotation file of a split, in place of the usual ones',
    )
    add(
        '--splits',
        nargs='+',
        default=(),
        choices=list(facts['lists']),
        help='splits to prepare; all whose lists are there if left out',
    )
    add('--classes', metavar='FILE', help='names in order, one a line')
    add('--encoding', help='of lists that are not UTF-8, such as gbk')
    audio = parser.add_mutually_exclusive_group()
    audio.add_argument(
        '--audio-root',
        help='folder of audio files, if audio is not in the videos; clips '
        'without one are left out',
    )
    hidden = dict(action='store_true', help=argparse.SUPPRESS)
    audio.add_argument('--with-sound', **hidden)  # until version 0.2
    audio.add_argument(
        '--with-audio',
        action='store_true',
        help='leave out videos without audio',
    )
    add(
        '--keep-missing',
        action='store_true',
        help='keep clips whose files are not there',
    )
    add(
        '--allow-partial',
        action='store_true',
        help='accept lists with another number of rows than published',
    )
    parser.set_defaults(trimmed=True)
    if facts.get('untrimmed'):
        kind = parser.add_mutually_exclusive_group(required=True)
        kind.add_argument(
            '--trimmed',
            action='store_true',
            help='each clip is a file of its own',
        )
        kind.add_argument(
            '--untrimmed',
            dest='trimmed',
            action='store_false',
            help='clips are parts of whole videos; rows get start and end',
        )
    args = parser.parse_args(argv)
    if args.with_sound:
        print('warning: --with-sound is now --with-audio')
        args.with_audio = True
    del args.with_sound
    for text in args.lists:
        if not all(text.partition('=')):
            parser.error(f'--list: expected SPLIT=FILE, got {text!r}')
    args.lists = dict(text.split('=', 1) for text in args.lists)
    return args


def prepare(name: str, argv: list[str] | None = None) -> None:
    """Prepare a benchmark as the flags say."""
    args = parse_args(name, argv)  # before torch is imported

    from benchmark_annotations import write_annotations

    from ca2st_mm.datasets.benchmarks import BENCHMARKS
    from ca2st_mm.engine.launch import run_or_explain

    run_or_explain(lambda: write_annotations(BENCHMARKS[name], args))
