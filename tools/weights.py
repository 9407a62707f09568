# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""List, fetch and check weights: ``ca2st weights list``."""

import argparse
import importlib.util
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    commands = parser.add_subparsers(dest='command', required=True)
    show = commands.add_parser(
        'list',
        help='show names, sizes, licences, and what pins each file: its '
        'sha256 or the revision of its repository',
    )
    show.add_argument('pattern', nargs='?', default='*', help="e.g. 'clip_*'")
    get = commands.add_parser('get', help='fetch weights')
    get.add_argument(
        'names', nargs='+', metavar='NAME', help='as list shows them'
    )
    get.add_argument(
        '--offline',
        action='store_true',
        help='use what is on this machine only, as CA2ST_MM_OFFLINE=1 does',
    )
    verify = commands.add_parser(
        'verify', help='hash the files on this machine again'
    )
    verify.add_argument(
        'names', nargs='*', metavar='NAME', help='default: all that are here'
    )
    check = commands.add_parser('check', help='ask which sources answer today')
    check.add_argument('names', nargs='*', metavar='NAME', help='default: all')
    where = commands.add_parser('path', help='print the path of a file')
    where.add_argument('name', metavar='NAME', help='as list shows it')
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
    if not isinstance(source.size, int):
        return source.size or 'unknown'
    unit, name = (10**9, 'GB') if source.size >= 10**9 else (10**6, 'MB')
    return f'{source.size / unit:.3g} {name}'


def pin_of(source: Any) -> str:
    """What tells a file from another that its host may put in its place."""
    digits = len(source.sha256 or '')
    if digits == 64:
        return 'sha256'
    if source.hub and source.hub['revision']:
        return 'revision'
    return f'sha256, {digits} digits' if digits else 'no'


def show_list(zoo: ModuleType, pattern: str) -> None:
    """Print entries in aligned columns, one line each.

    Raises:
        ValueError: If there is none.
    """
    rows = [('name', 'role', 'size', 'pinned by', 'licence', 'here')]
    for entry in zoo.entries(pattern):
        size = pin = here = '-'
        if entry.sources:
            size, pin = size_of(entry.sources[0]), pin_of(entry.sources[0])
            here = 'yes' if any(zoo.kept(entry)) else 'no'
        licence = entry.licence or 'no weights'
        rows.append((entry.name, entry.role, size, pin, licence, here))
    if len(rows) == 1:
        raise ValueError(
            f'the zoo has nothing like {pattern!r}; leave the pattern out to '
            'see all names'
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print('  '.join(map(str.ljust, row, widths)).rstrip())


def browser_url(source: Any) -> str:
    """The URL of a file as one that a browser opens."""
    if hub := source.hub:
        page = f'https://huggingface.co/{hub["repo_id"]}/resolve'
        return f'{page}/{hub["revision"] or "main"}/{hub["filename"]}'
    if source.url.startswith('gdrive://'):
        return f'https://drive.google.com/uc?id={source.url.split("/")[2]}'
    return source.url


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
                    f'[`{file}`]({browser_url(one)})',
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


def verify(zoo: ModuleType, entry: Any) -> Iterator[tuple[str, str | None]]:
    """The files of an entry on this machine, and what is wrong with each."""
    for place, source in zoo.kept(entry):
        yield str(place), zoo.fault_of(place, source)


def check(zoo: ModuleType, entry: Any) -> Iterator[tuple[str, str | None]]:
    """The sources of an entry, and why one has not the file."""
    for source in entry.sources:
        try:
            fault = ask(source)
        except Exception as error:  # each library has its own kinds
            fault = zoo.in_short(error)
        yield source.url, fault


def ask(source: Any) -> str | None:
    """Why a host, as far as it tells, has not the file; None if it may.

    Nothing is fetched.
    """
    sha256 = None
    if source.hub:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        repo_id, revision, filename = source.hub.values()
        url = hf_hub_url(repo_id, filename, revision=revision)
        told = get_hf_file_metadata(url, timeout=30)
        size = told.size
        if re.fullmatch('[0-9a-f]{64}', told.etag or ''):
            sha256 = told.etag
    else:
        import requests

        url = browser_url(source)
        reply = requests.head(url, allow_redirects=True, timeout=30)
        reply.raise_for_status()
        size = int(reply.headers.get('Content-Length', 0)) or None
        if 'text/html' in reply.headers.get('Content-Type', ''):
            # Google Drive asks for a confirmation first, which gdown gives.
            is_drive = url != source.url
            return None if is_drive else 'a web page in place of weights'
    if size and isinstance(source.size, int) and size != source.size:
        return f'{size} bytes instead of {source.size}'
    if sha256 and source.sha256 and not sha256.startswith(source.sha256):
        return f'sha256 {sha256} instead of {source.sha256}'
    return None


def report(zoo: ModuleType, args: argparse.Namespace) -> int:
    """Print one line a file or source; 1 if any has a fault."""
    faults = []
    command = verify if args.command == 'verify' else check
    for entry in map(zoo.find, args.names) if args.names else zoo.entries():
        found = list(command(zoo, entry))
        if args.names and not found:
            found = [('', 'not on this machine')]
        for where, fault in found:
            faults.append(fault)
            print(f'{"FAIL" if fault else "ok"}  {entry.name} {where}', end='')
            print(f'  {fault}' if fault else '', flush=True)
    if not faults:
        print('no weights on this machine')
    return int(any(faults))


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
        return report(zoo, args)
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
