# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""List, fetch, check and find weights: ``python tools/weights.py list``."""

import argparse
import logging
import sys
from collections.abc import Callable

from ca2st_mm import zoo
from ca2st_mm.zoo.cache import Cache, default_home
from ca2st_mm.zoo.tables import document, listing


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    commands = parser.add_subparsers(dest='command', required=True)
    show = commands.add_parser('list', help='show what there is')
    show.add_argument('pattern', nargs='?', default='*', help="e.g. 'clip_*'")
    get = commands.add_parser('get', help='fetch weights into the cache')
    get.add_argument('names', nargs='+', metavar='NAME')
    get.add_argument(
        '--offline',
        action='store_true',
        help='look into the cache only, as CA2ST_MM_OFFLINE=1 does',
    )
    check = commands.add_parser('verify', help='hash cached files again')
    check.add_argument('names', nargs='*', metavar='NAME')
    where = commands.add_parser('path', help='print where cached weights lie')
    where.add_argument('name', metavar='NAME')
    commands.add_parser('table', help='print docs/zoo.md')
    return parser.parse_args(argv)


def show_list(args: argparse.Namespace) -> int:
    """Print the table; a pattern without entries is an error."""
    found = zoo.entries(args.pattern)
    if not found:
        raise ValueError(
            f'The zoo has nothing like {args.pattern!r}; leave the pattern '
            'out to see all names'
        )
    print(listing(found, Cache(default_home())))
    return 0


def get(args: argparse.Namespace) -> int:
    """Fetch each entry; go on after one that fails."""
    status = 0
    for entry in [zoo.find(name) for name in args.names]:
        try:
            print(zoo.fetch(entry.name, args.offline))
        except zoo.ZooError as error:
            _complain(error)
            status = 1
        else:
            print(
                f'{entry.name}: licence of these weights: {entry.licence}',
                file=sys.stderr,
            )
    return status


def verify(args: argparse.Namespace) -> int:
    """Print a verdict for each file; a bad one makes the status 1."""
    verdicts = zoo.verify(*args.names)
    for name, found, problem in verdicts:
        where = f' {found.path}' if found else ''
        print(f'{"FAIL" if problem else "ok"}  {name}{where}', end='')
        print(f'  {problem}; get it again' if problem else '')
    if not verdicts:
        print(f'no weights in {default_home()}')
    return int(any(verdict.problem for verdict in verdicts))


def show_path(args: argparse.Namespace) -> int:
    """Print where the file lies; an entry that is not here is an error."""
    path = zoo.path(args.name)
    if path is None:
        raise zoo.ZooError(
            f'{args.name} is not in {default_home()}; run: python '
            f'tools/weights.py get {args.name}'
        )
    print(path)
    return 0


def show_table(args: argparse.Namespace) -> int:
    """Print the page of the docs."""
    print(document(zoo.entries()), end='')
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    'list': show_list,
    'get': get,
    'verify': verify,
    'path': show_path,
    'table': show_table,
}


def main(argv: list[str] | None = None) -> int:
    """Run a command: 0 for success, 1 for failure, 2 for a wrong name."""
    args = parse_args(argv)
    logging.basicConfig(format='%(message)s')
    logging.getLogger('ca2st_mm').setLevel(logging.INFO)
    try:
        return COMMANDS[args.command](args)
    except zoo.ZooError as error:
        _complain(error)
        return 1
    except (ValueError, FileNotFoundError) as error:
        _complain(error)
        return 2


def _complain(error: Exception) -> None:
    print(f'error: {error}', file=sys.stderr)


if __name__ == '__main__':
    sys.exit(main())
