# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Entries of the zoo, read from ``model-index.yml`` and the metafiles.

The files are OpenMMLab's, so that ``mim`` reads them too; what ``mim`` does
not know stands under the key ``Zoo`` of each model.  Bytes and hash of a file
stand in ``listing.csv``, as its host lists them.
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
DRIVE_SCHEME = 'gdrive://'
WEB_SCHEMES = ('http://', 'https://')

INDEX = 'model-index.yml'
PACKAGE = Path(__file__).resolve().parents[1]
SAFE_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._+-]*')
HUB_URL = re.compile(
    r'hf://(?P<repo_id>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/(?P<filename>.+)'
)
REPOSITORY = re.compile(r'[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w.-]+)?')
SUFFIXES = ('.pth', '.pt', '.bin', '.ckpt', '.safetensors', '.json')
DRIVE_URL = re.compile(r'gdrive://([\w-]+)/([^/]+)')
# The libyaml parser, where it is there, is ten times as fast.
_Loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


class Source(NamedTuple):
    """One file that holds the weights of an entry.

    Attributes:
        url: ``hf://owner/name@revision/file``, ``https://...``, or
            ``gdrive://ID/FILE`` for a file on Google Drive.
        layout: Whose parameter names the file uses, None if not known.
        size: Bytes, None if unknown.
        about: The size in words, where the bytes are unknown.
        sha256: The hash, or its first 8 digits or more; None if unknown.
    """

    url: str
    layout: str | None = None
    size: int | None = None
    about: str | None = None
    sha256: str | None = None

    @property
    def file(self) -> str:
        """Name of the file: the last part of the URL."""
        return file_name(self.url)

    @property
    def hub(self) -> dict[str, str] | None:
        """What ``huggingface_hub`` calls a file there; None elsewhere."""
        match = HUB_URL.fullmatch(self.url)
        return match and match.groupdict()


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
        sources: Files with its weights, best first; empty if none has
            released any.
        published: Numbers of others, never ours.
    """

    name: str
    role: str
    licence: str | None
    config: str | None
    sources: tuple[Source, ...]
    published: tuple[Published, ...] = ()


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

    Example:
        >>> find('clip_vit-base-p16_openai').role
        'spatial expert'
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


def is_known(source: str) -> bool:
    """Whether a source is a name or URL that :func:`~.fetch` takes."""
    return source.startswith((SCHEME, HUB_SCHEME, DRIVE_SCHEME, *WEB_SCHEMES))


def canonical(source: str) -> str:
    """What a user names as a path or URL, the same for every entry point.

    Args:
        source: A path; a URL; the name of an entry; or ``owner/name`` or
            ``owner/name@revision`` on the Hugging Face Hub, which stands for
            the ``model.safetensors`` there.  A path that exists comes first.

    Returns:
        The path or URL; names become ``zoo://NAME`` or ``hf://...``.

    Example:
        >>> canonical('clip_vit-base-p16_openai')
        'zoo://clip_vit-base-p16_openai'
        >>> canonical('owner/cast@v1')
        'hf://owner/cast@v1/model.safetensors'
    """
    if is_known(source) or Path(source).expanduser().exists():
        return source
    if source in _catalogue():
        return SCHEME + source
    if REPOSITORY.fullmatch(source) and not source.endswith(SUFFIXES):
        return f'{HUB_SCHEME}{source}/model.safetensors'
    return source


def file_name(url: str) -> str:
    """The name under which the file of a URL is kept.

    Raises:
        ValueError: If it is no URL of weights, or its last part is no plain
            file name.
    """
    last = urlsplit(browser_url(url)).path
    if match := DRIVE_URL.fullmatch(url):
        last = match[2]
    return _check_name(unquote(last.rpartition('/')[2]))


def browser_url(url: str) -> str:
    """A URL of the catalogue as one that a browser opens.

    Raises:
        ValueError: If it has another form than those of :class:`Source`.
    """
    if url.startswith(WEB_SCHEMES):
        return url
    if match := HUB_URL.fullmatch(url):
        repository, revision, file = match.groups()
        return (
            f'https://huggingface.co/{repository}/resolve/'
            f'{revision or "main"}/{file}'
        )
    if match := DRIVE_URL.fullmatch(url):
        return f'https://drive.google.com/uc?id={match[1]}'
    raise ValueError(
        f'{url!r} is no URL of weights; write https://..., '
        'hf://owner/name@revision/file or gdrive://ID/FILE'
    )


def _check_name(name: str) -> str:
    # A name from outside must not lead out of the folder it is written to.
    if not isinstance(name, str) or not SAFE_NAME.fullmatch(name):
        raise ValueError(
            f'{name!r} is no name for a file of the zoo; use letters, digits '
            'and ._+- only'
        )
    return name


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


@functools.cache
def listing() -> dict[str, Source]:
    """What hosts list: the files of the catalogue by URL, with size and hash.

    Raises:
        ValueError: If a row is malformed.
    """
    found = {}
    with open(Path(__file__).with_name('listing.csv'), newline='') as file:
        for row in csv.DictReader(file):
            size, sha256 = row['size'], row['sha256']
            if sha256 and not re.fullmatch(r'[0-9a-f]{8,64}', sha256):
                raise ValueError(f'{row["url"]}: {sha256!r} is no sha256')
            found[row['url']] = Source(
                url=row['url'],
                size=int(size) if size.isdigit() else None,
                about=size or None,
                sha256=sha256 or None,
            )
    return found


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
    for relative in _load(index)['Import']:
        metafile = index.parent / relative
        for model in _load(metafile)['Models']:
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


def _load(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=_Loader)


@functools.cache
def _catalogue() -> Mapping[str, Entry]:
    return read_catalogue(find_index())


def _read_entry(model: Mapping[str, Any]) -> Entry:
    zoo = model['Zoo']
    sources = tuple(
        listing()
        .get(source['URL'], Source(source['URL']))
        ._replace(layout=source['Layout'])
        for source in zoo['Sources']
    )
    files = [source.file for source in sources]
    if len(set(files)) < len(files):
        raise ValueError(f'two sources share a file name: {files}')
    if sources and not zoo.get('License'):
        raise ValueError('weights without a License')
    return Entry(
        name=_check_name(model['Name']),
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
