# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The command line that the preparers share."""

import argparse
from collections.abc import Sequence

from .benchmark import Benchmark
from .preparing import Request, prepare


def main(benchmark: Benchmark, arguments: Sequence[str] | None = None) -> None:
    """Prepare one benchmark as the flags say.

    Args:
        benchmark: The benchmark.
        arguments: The flags; None for those of the process.

    Raises:
        BenchmarkError: As :func:`prepare` does.
    """
    flags = vars(_parser(benchmark).parse_args(arguments))
    flags['lists'] = dict(flags['lists'])
    flags['splits'] = tuple(flags['splits'])
    prepare(benchmark, Request(**flags))


def _parser(benchmark: Benchmark) -> argparse.ArgumentParser:
    """The command line that the preparers share."""
    parser = argparse.ArgumentParser(
        description=f'Write the manifests of {benchmark.title}.'
    )
    add, folder = parser.add_argument, f'data/{benchmark.folder}'
    add(
        '--annotations',
        default=f'{folder}/annotations',
        help='folder of the annotation files (default: %(default)s)',
    )
    add(
        '--videos',
        default=f'{folder}/videos',
        help='folder of the videos, searched with all below it '
        '(default: %(default)s)',
    )
    add(
        '--out',
        default=folder,
        help='folder for the manifests (default: %(default)s)',
    )
    add(
        '--list',
        dest='lists',
        metavar='SPLIT=FILE',
        action='append',
        default=[],
        type=_split_and_file,
        help='annotation file of a split, in place of the usual ones',
    )
    add(
        '--splits',
        nargs='+',
        default=(),
        choices=list(benchmark.lists),
        help='splits to prepare (default: all whose lists are there)',
    )
    add(
        '--classes',
        metavar='FILE',
        help='class names in the order of your labels, one a line',
    )
    add('--encoding', help='of lists that are not UTF-8, such as gbk')
    audio = parser.add_mutually_exclusive_group()
    audio.add_argument(
        '--audio-root',
        help='folder of audio files, if audio is not in the videos; clips '
        'without one are left out',
    )
    audio.add_argument(
        '--with-audio',
        action='store_true',
        help='leave out videos without audio',
    )
    audio.add_argument(  # accepted until version 0.2
        '--with-sound',
        dest='with_audio',
        action=_OldFlag,
        help=argparse.SUPPRESS,
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
    if benchmark.untrimmed:
        group = parser.add_mutually_exclusive_group(required=True)
        group.add_argument(
            '--trimmed',
            action='store_true',
            help='each clip is a file of its own',
        )
        group.add_argument(
            '--untrimmed',
            dest='trimmed',
            action='store_false',
            help='clips are parts of whole videos; the manifest gets start '
            'and end',
        )
    return parser


class _OldFlag(argparse.Action):
    """A switch under its old name."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, nargs=0, default=False, **kwargs)

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        print(f'warning: {option_string} is now --with-audio')
        setattr(namespace, self.dest, True)


def _split_and_file(text: str) -> tuple:
    split, sign, path = text.partition('=')
    if not sign or not path:
        raise argparse.ArgumentTypeError(f'expected SPLIT=FILE, got {text!r}')
    return split, path
