# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The zoo as tables: columns for a terminal, Markdown for the docs."""

from collections.abc import Sequence

from .addresses import plain_url
from .cache import COMPLETE, Cache
from .catalogue import UNKNOWN, Entry, Source

COLUMNS = ('name', 'role', 'size', 'licence of the weights', 'cached')
UNITS = ('B', 'KB', 'MB', 'GB')
INTRO = """\
# The zoo

<!-- Made from the metafiles below configs/ by
     `python tools/weights.py table > docs/zoo.md`; edit those. -->

A config names weights as `zoo://NAME`; they are fetched before the run starts
and kept in `~/.cache/ca2st_mm/weights` (`CA2ST_MM_HOME` names another
folder).

<!-- needs: network -->
```shell
python tools/weights.py list            # what there is, and what is here
python tools/weights.py get NAME        # fetch it; goes on where it was cut
python tools/weights.py verify          # hash again what is here
python tools/weights.py path NAME       # where the file lies
```

`--offline`, or `CA2ST_MM_OFFLINE=1`, uses the folder only. `HF_ENDPOINT` and
`HF_TOKEN` work as for the Hugging Face Hub (`hf://owner/name/file`).

A file that you put into the folder yourself is found by its sha256, under any
name. If its sha256 is not published, save it as `FOLDER/NAME/FILE`: the first
file that comes is trusted, recorded, and every later one must equal it.

Numbers are those **of the authors**; "ours" stays empty until we measure one.
"""


def listing(found: Sequence[Entry], cache: Cache) -> str:
    """Show entries in aligned columns, one line each."""
    rows: list[Sequence[str]] = [COLUMNS]
    for entry in found:
        copy = cache.locate(entry)
        sizes = [s.size for s in entry.sources[:1]]
        if copy:
            sizes = [copy.path.stat().st_size]
        size = _size(sizes[0]) if sizes else '-'
        here = 'yes' if copy else 'no' if entry.sources else '-'
        licence = entry.licence or 'no weights'
        rows.append((entry.name, entry.role, size, licence, here))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(map(str.ljust, row, widths)).rstrip() for row in rows
    )


def document(found: Sequence[Entry]) -> str:
    """Write ``docs/zoo.md``, ended by a line break."""
    parts = [
        INTRO,
        '## Weights\n\n' + _overview([e for e in found if e.sources]),
        '## Configs without weights\n\nTrain them.\n\n'
        + _overview([e for e in found if not e.sources]),
        '## Sources\n\nTried from top to bottom; none has been tested from '
        'here unless a day is given.\n\n' + _sources(found),
    ]
    return '\n'.join(parts)


def _overview(found: Sequence[Entry]) -> str:
    head = ('name', 'role', 'licence of the weights', 'config')
    rows = [
        (
            f'`{entry.name}`',
            entry.role,
            entry.licence or 'no weights',
            f'[config](../{entry.config})' if entry.config else '',
            '<br>'.join(
                f'{n.dataset}, {n.metric}: {n.value} ({n.origin})'
                for n in entry.published
            )
            or UNKNOWN,
            'not measured',
        )
        for entry in found
    ]
    return _markdown((*head, "the authors' numbers", 'ours'), rows)


def _sources(found: Sequence[Entry]) -> str:
    head = ('name', 'file', 'layout', 'format', 'size', 'sha256', 'tested')
    rows = [
        (
            f'`{entry.name}`',
            _link(source),
            source.layout,
            source.file_format,
            _size(source.size),
            _sha256(source),
            'not tested here' if source.checked == 'never' else source.checked,
        )
        for entry in found
        for source in entry.sources
    ]
    return _markdown(head, rows)


def _link(source: Source) -> str:
    if source.address is None:
        return f'`{source.file}`: no direct address known; {source.how}'
    return f'[`{source.file}`]({plain_url(source.address)})'


def _sha256(source: Source) -> str:
    if source.sha256 is None:
        return UNKNOWN
    end = '' if len(source.sha256) == COMPLETE else '... (the rest unknown)'
    return f'`{source.sha256}`{end}'


def _size(size: int | None) -> str:
    if size is None:
        return UNKNOWN
    amount, unit = float(size), 0
    while amount >= 1000 and unit + 1 < len(UNITS):
        amount, unit = amount / 1000, unit + 1
    return f'{amount:.3g} {UNITS[unit]}'


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ['---'] * len(head), *rows]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)
