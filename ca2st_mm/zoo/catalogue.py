# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Entries of the zoo, read from ``model-index.yml`` and the metafiles.

The files are OpenMMLab's, so that ``mim`` reads them too; what ``mim`` does
not know stands under the key ``Zoo`` of each model.
"""

import csv
import difflib
import fnmatch
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import yaml

SCHEME = 'zoo://'
"""What a config writes before the name of an entry."""
HUB_SCHEME = 'hf://'
SCHEMES = (SCHEME, HUB_SCHEME, 'gdrive://', 'http://', 'https://')

PACKAGE = Path(__file__).resolve().parents[1]
HUB_URL = re.compile(
    r'hf://(?P<repo_id>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?'
    r'(?:/(?P<filename>.+))?'
)
REPOSITORY = re.compile(r'[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w.-]+)?')
FILE = re.compile(r'.*\.(pth|pt|bin|ckpt|safetensors|json|py)')


class Source(NamedTuple):
    """One file that holds the weights of an entry.

    Attributes:
        url: ``hf://owner/name@revision/file``, ``https://...``, or
            ``gdrive://ID/FILE`` for a file on Google Drive.
        layout: Whose parameter names the file uses, None if not known.
        size: Bytes; in words, such as '346 MB', if no host tells them; None
            if unknown.
        sha256: The hash, or its first 8 digits or more; None if unknown.
    """

    url: str
    layout: str | None = None
    size: int | str | None = None
    sha256: str | None = None

    @property
    def hub(self) -> dict[str, str | None] | None:
        """Arguments of ``huggingface_hub`` for a file there; None elsewhere.

        Without ``filename`` it is the whole repository.
        """
        match = HUB_URL.fullmatch(self.url)
        return match and match.groupdict()

    @property
    def file(self) -> str:
        """Name under which the file is kept: the last part of the URL.

        Raises:
            ValueError: If it is no URL of weights, or its last part is no
                plain file name, which could lead out of a folder.

        Example:
            >>> Source('hf://owner/name@v1/a.bin').file
            'a.bin'
        """
        name = unquote(urlsplit(self.url).path.rpartition('/')[2])
        is_plain = re.fullmatch('[A-Za-z0-9][A-Za-z0-9._+@-]*', name)
        if not is_plain or not self.url.startswith(SCHEMES[1:]):
            raise ValueError(
                f'{self.url!r} is no URL of weights; write https://.../FILE, '
                'hf://owner/name@revision, with or without /FILE, or '
                'gdrive://ID/FILE, with letters, digits and ._+- in FILE'
            )
        return name


class Entry(NamedTuple):
    """A model or an expert of the zoo.

    Attributes:
        name: Its name, unique in the zoo.
        role: ``'model'`` or what the expert is for.
        licence: Terms of the weights; None without weights.
        config: Path of a config that uses it, None if there is none.
        sources: Files with its weights, best first; empty if none has
            released any.
        published: Numbers of others, never ours: ``Dataset``, ``Metric``,
            ``Value`` and ``Origin`` of each.
    """

    name: str
    role: str
    licence: str | None
    config: str | None
    sources: tuple[Source, ...]
    published: tuple[Mapping[str, Any], ...] = ()


def entries(pattern: str = '*') -> list[Entry]:
    """List the entries whose name fits a shell pattern.

    Example:
        >>> [entry.name for entry in entries('cast_*_k400')]
        ['cast_vit-base_k400']
    """
    found = _catalogue()
    return [e for e in found.values() if fnmatch.fnmatchcase(e.name, pattern)]


def find(name: str) -> Entry:
    """Look up one entry, with or without ``zoo://`` before its name.

    Raises:
        ValueError: If there is none; the message names the closest ones.

    Example:
        >>> find('clip_vit-base-p16_openai').role
        'spatial expert'
    """
    name, found = name.removeprefix(SCHEME), _catalogue()
    if name in found:
        return found[name]
    close = difflib.get_close_matches(name, found, n=3, cutoff=0.4)
    hint = f'did you mean {" or ".join(close)}? ' if close else ''
    raise ValueError(
        f'there is no {name!r} here or in the zoo; {hint}`ca2st weights list` '
        'shows all names'
    )


def is_known(source: str) -> bool:
    """Whether a source is a name or URL that :func:`~.fetch` takes.

    Example:
        >>> is_known('zoo://ast_base_vggsound'), is_known('epoch_3.pth')
        (True, False)
    """
    return source.startswith(SCHEMES)


def canonical(source: str) -> str:
    """What a user names as a path or URL, the same for every entry point.

    A path that exists comes first; then names become ``zoo://NAME``, and
    ``owner/name`` with or without ``@revision`` become ``hf://...``.  The
    forms of experts, ``hf:owner/name`` and ``local-dir:PATH``, are known.

    Example:
        >>> canonical('clip_vit-base-p16_openai')
        'zoo://clip_vit-base-p16_openai'
        >>> canonical('owner/cast@v1')
        'hf://owner/cast@v1'
    """
    is_path = FILE.fullmatch(source) or Path(source).expanduser().exists()
    if source.startswith('local-dir:'):
        return source.removeprefix('local-dir:')
    if not is_path and REPOSITORY.fullmatch(source.removeprefix('hf:')):
        return HUB_SCHEME + source.removeprefix('hf:')
    # A colon: an expert by one string, or a drive of Windows.
    is_path = is_path or '/' in source or ':' in source
    return source if is_path else SCHEME + source


def find_index() -> Path:
    """Place of ``model-index.yml``, in a checkout or an installed package."""
    # A checkout comes first: what an old build left in .mim may be stale.
    index = PACKAGE.parent / 'model-index.yml'
    return index if index.is_file() else PACKAGE / '.mim' / index.name


def listing() -> dict[str, Source]:
    """What hosts list: files by URL, with size and hash where public."""
    with Path(__file__).with_name('listing.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row['size'] = (
            int(row['size']) if row['size'].isdigit() else row['size']
        )
    return {
        row['url']: Source(
            **{key: value or None for key, value in row.items()}
        )
        for row in rows
    }


@functools.cache
def _catalogue() -> dict[str, Entry]:
    """Entries by name, in the order of the metafiles."""
    index, found, files = find_index(), {}, listing()
    # The libyaml parser, where it is there, is ten times as fast.
    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
    for relative in yaml.load(index.read_text(), loader)['Import']:
        text = (index.parent / relative).read_text()
        for model in yaml.load(text, loader)['Models']:
            zoo = model['Zoo']
            found[model['Name']] = Entry(
                name=model['Name'],
                role=zoo['Role'],
                licence=zoo.get('License'),
                config=model.get('Config'),
                sources=tuple(
                    files[source['URL']]._replace(layout=source['Layout'])
                    for source in zoo['Sources']
                ),
                published=tuple(zoo.get('Published', ())),
            )
    return found
