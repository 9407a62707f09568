# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Entries of the zoo, read from ``model-index.yml`` and the metafiles.

The files are OpenMMLab's, so that ``mim`` reads them too; what ``mim`` does
not know stands under the key ``Zoo`` of each model.
"""

import difflib
import fnmatch
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .addresses import check_file_name, file_name

SCHEME = 'zoo://'
"""What a config writes before the name of an entry."""

INDEX = 'model-index.yml'
PACKAGE = Path(__file__).resolve().parents[1]
UNKNOWN = 'unknown'
SOURCE_KEYS = {
    'Address',
    'Checked',
    'File',
    'Format',
    'How',
    'Layout',
    'SHA256',
    'Size',
}


class Source(NamedTuple):
    """One file that holds the weights of an entry.

    Attributes:
        address: ``https://...`` or ``hf://owner/name/file``; None where no
            direct address is known.
        file: Name of the file in the cache folder.
        layout: Whose parameter names the file uses.
        file_format: How the file is written.
        sha256: The hash, or its first 8 digits or more; None if unknown.
        size: Bytes, None if unknown.
        how: Where to look if there is no address, one sentence.
        checked: The day a download was last tried, or ``'never'``.
    """

    address: str | None
    file: str
    layout: str
    file_format: str
    sha256: str | None
    size: int | None
    how: str
    checked: str


class Published(NamedTuple):
    """A number that others have published for these weights or this model."""

    dataset: str
    metric: str
    value: str
    origin: str


class Entry(NamedTuple):
    """A model or an expert of the zoo.

    Attributes:
        name: Its name, unique in the zoo.
        role: ``'model'`` or what the expert is for.
        licence: Terms of the weights; None without weights.
        config: Path of a config that uses it, None if there is none.
        sources: Files with its weights, best first; empty if nobody has
            released any.
        published: Numbers of others, never ours.
    """

    name: str
    role: str
    licence: str | None
    config: str | None
    sources: tuple[Source, ...]
    published: tuple[Published, ...]


def entries(pattern: str = '*') -> list[Entry]:
    """List the entries whose name fits a shell pattern, e.g. ``clip_*``."""
    found = _catalogue()
    return [e for e in found.values() if fnmatch.fnmatchcase(e.name, pattern)]


def find(name: str) -> Entry:
    """Look up one entry.

    Args:
        name: Its name, with or without ``zoo://``.

    Raises:
        ValueError: If there is none of that name; the message names the
            closest ones.
    """
    name = name.removeprefix(SCHEME)
    found = _catalogue()
    if name in found:
        return found[name]
    close = difflib.get_close_matches(name, found, n=3, cutoff=0.4)
    hint = f'did you mean {" or ".join(close)}' if close else 'see the list'
    raise ValueError(
        f'The zoo has no {name!r}; {hint} (`python tools/weights.py list` '
        'shows all names)'
    )


def find_index() -> Path:
    """Find ``model-index.yml``, in a checkout or in an installed package.

    Raises:
        FileNotFoundError: If the package was installed without its configs.
    """
    # A checkout comes first: what an old build left in .mim may be stale.
    for folder in (PACKAGE.parent, PACKAGE / '.mim'):
        if (folder / INDEX).is_file():
            return folder / INDEX
    raise FileNotFoundError(
        f'There is no {INDEX} in {PACKAGE.parent} or {PACKAGE / ".mim"}; '
        'install ca2st_mm again, with its configs'
    )


def read_catalogue(index: Path) -> dict[str, Entry]:
    """Read all metafiles that an index imports.

    Args:
        index: Path of a ``model-index.yml``.

    Returns:
        Entries by name, in the order of the files.

    Raises:
        ValueError: If a name comes twice or an entry is malformed; the
            message names file and entry.
    """
    found: dict[str, Entry] = {}
    for relative in yaml.safe_load(index.read_text())['Import']:
        metafile = index.parent / relative
        for model in yaml.safe_load(metafile.read_text())['Models']:
            name = model.get('Name')
            try:
                entry = _read_entry(model)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f'{metafile}: the entry {name!r} is malformed: '
                    f'{type(error).__name__}: {error}'
                ) from error
            if name in found:
                raise ValueError(f'{metafile}: {name!r} is there twice')
            found[name] = entry
    return found


@functools.cache
def _catalogue() -> Mapping[str, Entry]:
    return read_catalogue(find_index())


def _read_entry(model: Mapping[str, Any]) -> Entry:
    zoo = model['Zoo']
    sources = tuple(_read_source(source) for source in zoo['Sources'])
    files = [source.file for source in sources]
    if len(set(files)) < len(files):
        raise ValueError(f'two sources share a file name: {files}')
    if sources and not zoo.get('License'):
        raise ValueError('weights without a License')
    return Entry(
        name=check_file_name(model['Name']),
        role=zoo['Role'],
        licence=zoo.get('License'),
        config=model.get('Config'),
        sources=sources,
        published=tuple(
            Published(
                number['Dataset'],
                number['Metric'],
                str(number['Value']),
                number['Origin'],
            )
            for number in zoo.get('Published', ())
        ),
    )


def _read_source(source: Mapping[str, Any]) -> Source:
    if strange := set(source) - SOURCE_KEYS:
        raise ValueError(f'unknown keys {sorted(strange)}')
    address = source.get('Address')
    name = source['File'] if address is None else file_name(address)
    return Source(
        address=address,
        file=check_file_name(name),
        layout=source['Layout'],
        file_format=source['Format'],
        sha256=_read_sha256(source['SHA256']),
        size=None if source['Size'] == UNKNOWN else int(source['Size']),
        how=source['How'] if address is None else '',
        checked=str(source.get('Checked', 'never')),
    )


def _read_sha256(value: str) -> str | None:
    if value == UNKNOWN:
        return None
    digits = set('0123456789abcdef')
    if not isinstance(value, str) or not set(value) <= digits:
        raise ValueError(f'SHA256 {value!r} is not a quoted hex number')
    if not 8 <= len(value) <= 64:
        raise ValueError(f'SHA256 {value!r} must have 8 to 64 digits')
    return value
