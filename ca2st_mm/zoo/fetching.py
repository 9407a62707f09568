# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Getting weights: from this machine, else from the first source that works.

Libraries fetch: ``huggingface_hub`` into its own cache (its settings, such as
``HF_HOME``, ``HF_ENDPOINT`` and ``HF_TOKEN``, hold), ``pooch`` and ``gdown``
into ours.  A file is used only if it looks like a checkpoint and has the
listed size and hash; one that has not is fetched again.
"""

import functools
import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ca2st_mm.utils.errors import UserError

from .catalogue import DRIVE_URL, SCHEME, Entry, Source, find, is_known

logger = logging.getLogger(__name__)
TIMEOUT = 30
"""Seconds to connect, and between two pieces of a file."""
NO_CONNECTION = 'no connection'
# What a folder or a repository of weights holds, the preferred first.
IN_FOLDER = (
    'model.safetensors',
    'model.safetensors.index.json',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
)


class ZooError(UserError, RuntimeError):
    """Weights cannot be had or trusted; the message says what to do."""


def default_home() -> Path:
    """Our cache folder: ``CA2ST_MM_HOME`` or one in the home folder."""
    home = os.environ.get('CA2ST_MM_HOME') or '~/.cache/ca2st_mm/weights'
    return Path(home).expanduser().absolute()


def fetch(source: str, offline: bool = False, only_look: bool = False) -> Path:
    """Return a file of weights, downloaded if need be.

    Args:
        source: Name of an entry, with or without ``zoo://``; or a URL:
            ``hf://owner/name@revision``, with or without ``/file``,
            ``https://...`` or ``gdrive://ID/FILE``.  ``#sha256=DIGITS`` after
            a URL has the file checked.
        offline: Use what is here only, as there is no network;
            ``CA2ST_MM_OFFLINE=1`` and ``HF_HUB_OFFLINE=1`` do the same.
        only_look: Use what is here only, although there may be one.

    Returns:
        The file; of a whole repository, the first of :data:`IN_FOLDER` there,
        next to its parts, if it has several.

    Raises:
        ValueError: If the zoo has no such entry, or it is no such URL.
        ZooError: If no source gives a good file, or it cannot be kept; one
            sentence with the sources tried and what to do.
    """
    settings = ('CA2ST_MM_OFFLINE', 'HF_HUB_OFFLINE')
    values = [os.environ.get(key, '').lower() for key in settings]
    offline |= any(v not in ('', '0', 'false', 'no') for v in values)
    entry, name = _entry_of(source), source.removeprefix(SCHEME)
    if not entry.sources:
        raise ZooError(
            f'no weights of {name} are released; train it with {entry.config}'
        )
    if found := _locate(entry):
        return found
    if offline:
        raise ZooError(
            f'the weights of {name} are not on this machine, and offline '
            f'nothing is fetched: {_advice(entry)}'
        )
    if only_look:
        raise ZooError(
            f'the weights of {name} are not on this machine yet; '
            f'{_advice(entry, network=True)}'
        )
    from filelock import FileLock

    folder = default_home() / entry.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / '.lock'):
            # Another process may have been quicker.
            return _locate(entry) or _first_good(entry, name)
    except OSError as error:
        raise ZooError(
            f'cannot write the weights of {name} to {folder} '
            f'({error.strerror or error}); make room or rights there, or '
            'name another folder with CA2ST_MM_HOME'
        ) from error


def kept(entry: Entry) -> Iterator[tuple[Path, Source]]:
    """Files of an entry on this machine, good or not, with their source."""
    for source in entry.sources:
        place = default_home() / entry.name / source.file
        if place.is_file():
            yield place, source
        if source.hub:
            with suppress(FileNotFoundError):
                yield _from_hub(source, local_files_only=True), source


def fault_of(path: Path, source: Source) -> str | None:
    """Why a file cannot be that of a source; None if it can."""
    size, changed = path.stat().st_size, path.stat().st_mtime_ns
    if fault := _no_checkpoint(path):
        return fault
    if isinstance(source.size, int) and size != source.size:
        return f'{size} bytes instead of {source.size}'
    if source.sha256:
        sha256 = _sha256(path, size, changed)
        if not sha256.startswith(source.sha256):
            return f'sha256 {sha256} instead of {source.sha256}'
    return None


def ask_hub(
    repo_id: str, revision: str | None, filename: str | None = None
) -> Any:
    """Raise at once if a file or repository cannot be had from the Hub.

    Its library tries for half a minute to connect.

    Returns:
        What the Hub tells of the file: ``size`` and ``etag``.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    url = hf_hub_url(repo_id, filename or 'config.json', revision=revision)
    try:
        return get_hf_file_metadata(url, timeout=TIMEOUT)
    except EntryNotFoundError:
        if filename:
            raise
        return None  # but the repository is there


def in_short(error: Exception) -> str:
    """What went wrong, in a few words."""
    name = type(error).__name__
    if (response := getattr(error, 'response', None)) is not None:
        if response.status_code == 401:  # as the Hub calls both
            return 'no such repository, or one that needs `hf auth login`'
        reason = getattr(response, 'reason', '') or ''
        return f'{response.status_code} {reason}'.strip()
    if 'Connect' in name or name == 'LocalEntryNotFoundError':
        return NO_CONNECTION
    lines = str(error).strip().splitlines() or [name]
    return lines[0][:120]


def _entry_of(source: str) -> Entry:
    """The entry of a name, or one made for a URL."""
    if not is_known(source) or source.startswith(SCHEME):
        return find(source)
    url, _, sha256 = source.partition('#sha256=')
    if sha256 and not re.fullmatch('[0-9a-f]{64}', sha256):
        raise ValueError(f'{source!r}: a sha256 has 64 digits')
    one = Source(url, sha256=sha256 or None)
    # Files of one name from two places must not meet in one folder.
    place = hashlib.sha256(url.encode()).hexdigest()[:12]
    return Entry(f'web-{place}', one.file, None, None, (one,))


def _locate(entry: Entry) -> Path | None:
    """The first good file on this machine."""
    for place, source in kept(entry):
        if (fault := fault_of(place, source)) is None:
            return place
        logger.warning('%s is not used: %s', place, fault)
    return None


def _first_good(entry: Entry, name: str) -> Path:
    """The file of the first source that gives a good one."""
    tried = {}
    for source in entry.sources:
        logger.info('%s: fetching %s', entry.name, source.url)
        try:
            return _download(entry, source)
        except Exception as error:  # each library has its own kinds
            if isinstance(error, ZooError) and len(entry.sources) == 1:
                raise  # says what to do
            tried[source.url] = in_short(error)
            logger.info('%s (%s)', source.url, tried[source.url])
    what = f'no connection to any source of {name}'
    if set(tried.values()) != {NO_CONNECTION}:
        urls = ', '.join(f'{url} ({why})' for url, why in tried.items())
        what = f'no source of {name} gives its weights, tried {urls}'
    raise ZooError(f'{what}: {_advice(entry)}')


def _advice(entry: Entry, network: bool = False) -> str:
    """The one thing to do, here if there is a network."""
    place, source = default_home() / entry.name, entry.sources[0]
    if not entry.name.startswith('web-'):
        command = f'run `ca2st weights get {entry.name}`'
        elsewhere = f'copy the file into {place}'
    elif hub := source.hub:
        what = ' '.join(filter(None, (hub['repo_id'], hub['filename'])))
        if hub['revision']:
            what += f' --revision {hub["revision"]}'
        command = f'run `hf download {what}`'
        elsewhere = 'name the path that it prints'
    else:
        return f'put {source.url} at {place / source.file}'
    if network:
        return command
    return f'{command} where there is a network, and {elsewhere}'


def _download(entry: Entry, source: Source) -> Path:
    """Fetch one file, and return it if it is good.

    Raises:
        ValueError: If it is not.
    """
    if source.hub:
        ask_hub(**source.hub)
        for again in (False, True):
            place = _from_hub(source, force_download=again)
            if (fault := fault_of(place, source)) is None:
                return place
        raise ValueError(fault)
    place = default_home() / entry.name / source.file
    part = place.with_name(f'{place.name}.part')
    seen = sys.stderr.isatty()
    try:
        if drive := DRIVE_URL.fullmatch(source.url):
            try:
                import gdown
            except ImportError as error:
                raise ZooError(
                    f'the weights of {entry.name} are on Google Drive, which '
                    'needs gdown: pip install gdown'
                ) from error
            gdown.download(id=drive[1], output=str(part), quiet=not seen)
        else:
            from pooch import HTTPDownloader

            get = HTTPDownloader(seen, chunk_size=1 << 20, timeout=TIMEOUT)
            get(source.url, str(part), None)
        if fault := fault_of(part, source):
            raise ValueError(fault)
        return part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def _from_hub(source: Source, **how: bool) -> Path:
    """A file in the cache of the Hub's library, fetched if need be.

    Of a whole repository, the first of :data:`IN_FOLDER` that it has.  All
    parts that an index names come along, and the config with class names.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
    )

    repo_id, revision, filename = source.hub.values()

    def get(name: str) -> Path:
        place = hf_hub_download(repo_id, name, revision=revision, **how)
        return Path(place)

    names = (filename,) if filename else IN_FOLDER
    for name in names:
        try:
            found = get(name)
            break
        except EntryNotFoundError as error:
            missing = error
    else:
        if isinstance(missing, LocalEntryNotFoundError):
            raise missing
        raise ValueError(f'it holds none of {", ".join(names)}') from missing
    if is_index := name.endswith('.index.json'):
        folder = name.removesuffix(found.name)
        parts = json.loads(found.read_text())['weight_map'].values()
        for part in dict.fromkeys(parts):
            try:
                get(folder + part)
            except LocalEntryNotFoundError:
                raise
            except EntryNotFoundError as error:
                raise ValueError(
                    f'{name} names {part}, which it does not hold'
                ) from error
    if is_index or not filename:
        with suppress(EntryNotFoundError):
            get('config.json')
    return found


@functools.cache
def _sha256(path: Path, size: int, changed: int) -> str:
    """The hash of a file, once for each state of it."""
    from pooch import file_hash

    return file_hash(str(path))


def _no_checkpoint(path: Path) -> str | None:
    """Whether the file begins, and ends, as no checkpoint does."""
    if path.name.endswith('.index.json'):
        return None  # names the parts of one, which are next to it
    with open(path, 'rb') as file:
        head = file.read(9)
    if head[8:] == b'{':
        try:
            with safe_open(path, framework='numpy'):
                return None
        except SafetensorError as error:  # its length is checked, too
            return f'damaged: {error}'
    # A zip file of torch.save, a pickle of its old format.
    if head[:4] == b'PK\x03\x04' or head[:1] == b'\x80':
        return None
    if not head:
        return 'an empty file'
    kind = 'a web page' if head.lstrip()[:1] == b'<' else 'another file'
    return f'{kind} in place of weights'
