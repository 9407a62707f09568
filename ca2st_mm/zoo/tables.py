# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The zoo as tables: columns for a terminal, Markdown for the docs."""

from collections.abc import Sequence

from .catalogue import Entry, Source, browser_url
from .fetching import path

UNITS = ('B', 'KB', 'MB', 'GB')


def listing(found: Sequence[Entry]) -> str:
    """Show entries in aligned columns, one line each."""
    rows = [('name', 'role', 'size', 'licence of the weights', 'here')]
    for entry in found:
        here = path(entry.name) if entry.sources else None
        size = _size(entry.sources[0]) if entry.sources else '-'
        rows.append(
            (
                entry.name,
                entry.role,
                size,
                entry.licence or 'no weights',
                'yes' if here else 'no' if entry.sources else '-',
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(map(str.ljust, row, widths)).rstrip() for row in rows
    )


def document(found: Sequence[Entry]) -> str:
    """Write the tables of ``docs/zoo.md``, ended by a line break."""
    parts = [
        '## Weights\n\n' + _overview([e for e in found if e.sources]),
        '## Configs without weights\n\nTrain them.\n\n'
        + _overview([e for e in found if not e.sources]),
        '## Sources\n\nTried from top to bottom.\n\n' + _sources(found),
    ]
    return '\n'.join(parts)


def _overview(found: Sequence[Entry]) -> str:
    head = ('name', 'role', 'licence of the weights', 'config', 'numbers')
    rows = [
        (
            f'`{entry.name}`',
            entry.role,
            entry.licence or 'no weights',
            f'[config](../{entry.config})' if entry.config else '',
            '<br>'.join(
                f'{n.dataset}, {n.metric}: {n.value} ({n.origin})'
                for n in entry.published
            ),
        )
        for entry in found
    ]
    return _markdown(head, rows)


def _sources(found: Sequence[Entry]) -> str:
    rows = [
        (
            f'`{entry.name}`',
            f'[`{source.url.rpartition("/")[2]}`]({browser_url(source.url)})',
            source.layout,
            _size(source),
            f'`{source.sha256}`' if source.sha256 else 'unknown',
        )
        for entry in found
        for source in entry.sources
    ]
    return _markdown(('name', 'file', 'layout', 'size', 'sha256'), rows)


def _size(source: Source) -> str:
    if source.size is None:
        return source.about or 'unknown'
    amount, unit = float(source.size), 0
    while amount >= 1000 and unit + 1 < len(UNITS):
        amount, unit = amount / 1000, unit + 1
    return f'{amount:.3g} {UNITS[unit]}'


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ['---'] * len(head), *rows]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)
