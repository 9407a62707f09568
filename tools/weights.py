# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""List, fetch and check weights: ``python tools/weights.py list``."""

import argparse
import importlib.util
import logging
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    commands = parser.add_subparsers(dest='command', required=True)
    show = commands.add_parser('list', help='show names, sizes and licences')
    show.add_argument('pattern', nargs='?', default='*', help="e.g. 'clip_*'")
    get = commands.add_parser('get', help='fetch weights')
    get.add_argument('names', nargs='+', metavar='NAME')
    get.add_argument(
        '--offline',
        action='store_true',
        help='use what is on this machine only, as CA2ST_MM_OFFLINE=1 does',
    )
    verify = commands.add_parser(
        'verify', help='hash the files on this machine again'
    )
    verify.add_argument('names', nargs='*', metavar='NAME')
    check = commands.add_parser('check', help='ask which sources answer today')
    check.add_argument('names', nargs='*', metavar='NAME')
    where = commands.add_parser('path', help='print the path of a file')
    where.add_argument('name', metavar='NAME')
    commands.add_parser('table', help='print the tables of docs/zoo.md')
    return parser.parse_args(argv)


def import_zoo() -> ModuleType:
    """Import the zoo; the rest of our package would import torch, seconds."""
    if 'ca2st_mm' not in sys.modules:
        package = ModuleType('ca2st_mm')
        spec = importlib.util.find_spec('ca2st_mm')
        package.__path__ = spec.submodule_search_locations
        sys.modules['ca2st_mm'] = package
    return importlib.import_module('ca2st_mm.zoo')


def size_of(source: Any) -> str:
    """The size of a file, in words."""
    if source.size is None:
        return source.about or 'unknown'
    unit, name = (10**9, 'GB') if source.size >= 10**9 else (10**6, 'MB')
    return f'{source.size / unit:.3g} {name}'


def show_list(zoo: ModuleType, pattern: str) -> None:
    """Print entries in aligned columns, one line each.

    Raises:
        ValueError: If there is none.
    """
    rows = [('name', 'role', 'size', 'licence of the weights', 'here')]
    for entry in zoo.entries(pattern):
        size, here = '-', '-'
        if entry.sources:
            size = size_of(entry.sources[0])
            here = 'yes' if zoo.is_here(entry) else 'no'
        licence = entry.licence or 'no weights'
        rows.append((entry.name, entry.role, size, licence, here))
    if len(rows) == 1:
        raise ValueError(
            f'the zoo has nothing like {pattern!r}; leave the pattern out to '
            'see all names'
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print('  '.join(map(str.ljust, row, widths)).rstrip())


def show_tables(zoo: ModuleType) -> None:
    """Print the tables of ``docs/zoo.md``."""
    head = ('name', 'role', 'licence of the weights', 'config', 'numbers')
    overview: dict[bool, list] = {True: [], False: []}
    sources = []
    for entry in zoo.entries():
        numbers = (
            f'{n["Dataset"]}, {n["Metric"]}: {n["Value"]} ({n["Origin"]})'
            for n in entry.published
        )
        overview[bool(entry.sources)].append(
            (
                f'`{entry.name}`',
                entry.role,
                entry.licence or 'no weights',
                f'[config](../{entry.config})' if entry.config else '',
                '<br>'.join(numbers),
            )
        )
        for one in entry.sources:
            file = one.url.rpartition('/')[2]
            sources.append(
                (
                    f'`{entry.name}`',
                    f'[`{file}`]({one.browser_url})',
                    one.layout,
                    size_of(one),
                    f'`{one.sha256}`' if one.sha256 else 'unknown',
                )
            )
    print('## Weights\n')
    show_markdown(head, overview[True])
    print('\n## Configs without weights\n\nTrain them.\n')
    show_markdown(head, overview[False])
    print('\n## Sources\n\nTried from top to bottom.\n')
    show_markdown(('name', 'file', 'layout', 'size', 'sha256'), sources)


def show_markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    for row in (head, ['---'] * len(head), *rows):
        print(f'| {" | ".join(row)} |')


def get(zoo: ModuleType, args: argparse.Namespace) -> int:
    """Fetch each entry, also after one that fails."""
    status = 0
    for name in args.names:
        source = zoo.canonical(name)
        try:
            print(zoo.fetch(source, args.offline))
        except zoo.ZooError as error:
            print(f'error: {error}', file=sys.stderr)
            status = 1
        else:
            if source.startswith(zoo.SCHEME):
                licence = zoo.find(source).licence
                print(f'{name}: licence: {licence}', file=sys.stderr)
    return status


def run(zoo: ModuleType, args: argparse.Namespace) -> int:
    """Run a command; the exit status."""
    if args.command == 'table':
        show_tables(zoo)
    elif args.command == 'list':
        show_list(zoo, args.pattern)
    elif args.command == 'path':
        print(zoo.fetch(zoo.canonical(args.name), offline=True))
    elif args.command == 'get':
        return get(zoo, args)
    else:
        problems = []
        for name, where, problem in getattr(zoo, args.command)(*args.names):
            problems.append(problem)
            print(f'{"FAIL" if problem else "ok"}  {name} {where}', end='')
            print(f'  {problem}' if problem else '', flush=True)
        if not problems:
            print('no weights on this machine')
        return int(any(problems))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run a command: 0 for success, 1 for failure, 2 for a wrong name."""
    args = parse_args(argv)
    logger = logging.getLogger('ca2st_mm')
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
    logger.setLevel(logging.INFO)
    zoo = import_zoo()
    try:
        return run(zoo, args)
    except zoo.ZooError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except (ValueError, FileNotFoundError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())
