# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The command line that the preparers share."""

import argparse
from collections.abc import Sequence

from .annotations import Benchmark
from .preparing import Request, prepare
from .registry import BENCHMARKS


def main(name: str, arguments: Sequence[str] | None = None) -> None:
    """Prepare one benchmark as the flags say.

    Args:
        name: Key of ``BENCHMARKS``.
        arguments: The flags; None for those of the process.

    Raises:
        BenchmarkError: As :func:`prepare` does.
    """
    benchmark = BENCHMARKS[name]
    flags = vars(_parser(benchmark).parse_args(arguments))
    flags['lists'] = dict(flags['lists'])
    flags['splits'] = tuple(flags['splits'])
    prepare(benchmark, Request(**flags))


def _parser(benchmark: Benchmark) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=f'Write the manifests of {benchmark.title}.'
    )
    folder = f'data/{benchmark.folder}'
    parser.add_argument(
        '--annotations',
        default=f'{folder}/annotations',
        help='folder of the annotation files (default: %(default)s)',
    )
    parser.add_argument(
        '--videos',
        default=f'{folder}/videos',
        help='folder of the videos, searched with all below it '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--out',
        default=folder,
        help='folder for the manifests (default: %(default)s)',
    )
    parser.add_argument(
        '--list',
        dest='lists',
        metavar='SPLIT=FILE',
        action='append',
        default=[],
        type=_split_and_file,
        help='annotation file of a split, in place of the usual ones',
    )
    parser.add_argument(
        '--splits',
        nargs='+',
        default=(),
        choices=list(benchmark.lists),
        help='splits to prepare (default: all whose lists are there)',
    )
    parser.add_argument(
        '--classes',
        metavar='FILE',
        help='class names in the order of your labels, one a line',
    )
    _add_choices(parser)
    _add_trimmed(parser, benchmark)
    return parser


def _add_choices(parser: argparse.ArgumentParser) -> None:
    """Flags that choose clips."""
    sound = parser.add_mutually_exclusive_group()
    sound.add_argument(
        '--audio-root',
        help='folder of sound files, if sound is not in the videos; clips '
        'without one are left out',
    )
    sound.add_argument(
        '--with-sound',
        action='store_true',
        help='leave out videos without a sound track',
    )
    parser.add_argument(
        '--keep-missing',
        action='store_true',
        help='keep clips whose files are not there',
    )
    parser.add_argument(
        '--allow-partial',
        action='store_true',
        help='accept lists with another number of rows than published',
    )


def _add_trimmed(
    parser: argparse.ArgumentParser, benchmark: Benchmark
) -> None:
    """Ask which videos one has, where both are usual."""
    parser.set_defaults(trimmed=True)
    if not benchmark.untrimmed:
        return
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
        help='clips are parts of whole videos; the manifest gets start, end',
    )


def _split_and_file(text: str) -> tuple:
    split, sign, path = text.partition('=')
    if not sign or not path:
        raise argparse.ArgumentTypeError(f'expected SPLIT=FILE, got {text!r}')
    return split, path
