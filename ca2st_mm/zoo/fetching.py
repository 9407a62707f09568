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
import socket
import sys
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open

from ca2st_mm.utils.errors import UserError
from ca2st_mm.utils.files import sha256_of, written_whole

from .catalogue import SCHEME, Entry, Source, find, is_known

logger = logging.getLogger(__name__)
TIMEOUT = 30
"""Seconds to connect, and between two pieces of a file."""
# Errors of the system that are none of its disk.
NETWORK = ConnectionError, TimeoutError, socket.gaierror
# What a folder or a repository of weights holds, the preferred first.
IN_FOLDER = (
    'model.safetensors',
    'model.safetensors.index.json',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
)


class ZooError(UserError, RuntimeError):
    """Weights cannot be had or trusted; the message says what to do."""


def fetch(source: str, offline: bool = False) -> Path:
    """Return a file of weights, downloaded if need be.

    Args:
        source: Name of an entry, with or without ``zoo://``; or a URL:
            ``hf://owner/name@revision``, with or without ``/file``,
            ``https://...`` or ``gdrive://ID/FILE``.  ``#sha256=DIGITS`` after
            a URL has the file checked.
        offline: Use what is here only; ``CA2ST_MM_OFFLINE=1`` and
            ``HF_HUB_OFFLINE=1`` do the same.

    Returns:
        The file; of a whole repository, the first of :data:`IN_FOLDER` there,
        next to its parts, if it has several.

    Raises:
        ValueError: If the zoo has no such entry, or it is no such URL.
        ZooError: If no source gives a good file, or it cannot be kept; one
            sentence with the sources tried and what to do.
    """
    said = [
        setting
        for setting in ('CA2ST_MM_OFFLINE', 'HF_HUB_OFFLINE')
        if os.environ.get(setting, '').lower() not in ('', '0', 'false', 'no')
    ]
    entry = _entry_of(source)
    if not entry.sources:
        raise ZooError(
            f'no weights of {entry.name} are released; train it with '
            f'{entry.config}'
        )
    if found := _locate(entry):
        return found
    if offline or said:
        what, why = source.removeprefix(SCHEME), ''.join(said[:1])
        why = why and f', and {why} is set'
        raise ZooError(
            f'the weights of {what} are not on this machine{why}: '
            f'{_advice(entry)}'
        )
    from filelock import FileLock

    folder, tried = _folder_of(entry), {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / '.lock'):
            if found := _locate(entry):  # another process was quicker
                return found
            for one in entry.sources:
                logger.info('%s: fetching %s', entry.name, one.url)
                try:
                    return _download(one, folder)
                except Exception as error:  # each library has its own kinds
                    only = len(entry.sources) == 1
                    of_network = isinstance(error, NETWORK)
                    if getattr(error, 'errno', None) and not of_network:
                        raise  # a fault of this machine
                    if isinstance(error, ZooError) and only:
                        raise  # says what to do
                    tried[one.url] = in_short(error)
                    logger.info('%s (%s)', one.url, tried[one.url])
    except OSError as error:
        raise ZooError(
            f'cannot write weights to {error.filename or folder} '
            f'({error.strerror or error}); make room or rights there, or name '
            'another folder with CA2ST_MM_HOME, for files of the Hub HF_HOME'
        ) from error
    urls = ', '.join(f'{url} ({why})' for url, why in tried.items())
    raise ZooError(f'no good weights from {urls}: {_advice(entry)}')


def kept(entry: Entry) -> Iterator[tuple[Path, Source]]:
    """Files of an entry on this machine, good or not, with their source."""
    for source in entry.sources:
        place = _folder_of(entry) / source.file
        if place.is_file():
            yield place, source
        if source.hub:
            with suppress(FileNotFoundError):
                yield _from_hub(source, local_files_only=True), source


def fault_of(path: Path, source: Source | None = None) -> str | None:
    """Why a file is no checkpoint, or not that of a source; else None."""
    state = path.stat()
    with open(path, 'rb') as file:
        head = file.read(9)
    is_zip = head[:4] == b'PK\x03\x04'  # of torch.save
    if path.suffix == '.json':  # an index, a config
        pass
    elif head[8:] == b'{':
        try:
            with safe_open(path, framework='numpy'):
                pass
        except SafetensorError as error:  # its length is checked, too
            return f'damaged: {error}'
    elif not is_zip and head[:1] != b'\x80':  # the old format is a pickle
        kind = 'another file' if head else 'an empty file'
        if head.lstrip().startswith(b'<'):
            kind = 'a web page'
        elif head == b'version h':  # the first of three lines
            kind = 'a pointer of git-lfs'
        return f'{kind} in place of weights'
    source = source or Source('')
    if isinstance(source.size, int) and state.st_size != source.size:
        return f'{state.st_size} bytes instead of {source.size}'
    if source.sha256:
        sha256 = _sha256(path, state.st_size, state.st_mtime_ns)
        if not sha256.startswith(source.sha256):
            return f'sha256 {sha256} instead of {source.sha256}'
    if is_zip:
        try:
            zipfile.ZipFile(path).close()  # reads its end, the contents
        except Exception as error:  # a flipped byte can raise any
            return f'damaged, such as cut short: {error}'
    return None


@functools.cache
def _sha256(path: Path, size: int, changed: int) -> str:
    """The hash of a file, once for each state of it."""
    return sha256_of(path)


def in_short(error: Exception) -> str:
    """What went wrong, in a few words."""
    name = type(error).__name__
    if (response := getattr(error, 'response', None)) is not None:
        if response.status_code == 401:  # as the Hub calls both
            return 'no such repository, or one that needs `hf auth login`'
        return f'{response.status_code} {getattr(response, "reason", "")}'
    if 'Connect' in name or name == 'LocalEntryNotFoundError':
        return 'no connection'
    return (str(error).strip() or name).splitlines()[0][:120]


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


def _folder_of(entry: Entry) -> Path:
    """Folder of an entry below ``CA2ST_MM_HOME`` or the user's cache."""
    home = os.environ.get('CA2ST_MM_HOME') or '~/.cache/ca2st_mm/weights'
    return Path(home).expanduser().absolute() / entry.name


def _locate(entry: Entry) -> Path | None:
    """The first good file on this machine."""
    for place, source in kept(entry):
        if (fault := fault_of(place, source)) is None:
            return place
        logger.warning('%s is not used: %s', place, fault)
    return None


def _advice(entry: Entry) -> str:
    """The one thing to do."""
    folder, source = _folder_of(entry), entry.sources[0]
    if not entry.name.startswith('web-'):
        return (
            f'run `ca2st weights get {entry.name}` where there is a network, '
            f'and copy the file to {folder / source.file}'
        )
    if not (hub := source.hub):
        return f'put {source.url} at {folder / source.file}'
    what, file = hub['repo_id'], hub['filename'] or ''
    # A folder whose name is misspelt looks like a repository.
    said = '' if file else f'{what} is no folder here; '
    if not file.endswith('.json'):  # which is nothing alone
        what += f' {file}'.rstrip()
    if hub['revision']:
        what += f' --revision {hub["revision"]}'
    return (
        f'{said}run `hf download {what}` where there is a network, and name '
        'the path that it prints'
    )


def _download(source: Source, folder: Path) -> Path:
    """Fetch one file, and return it if it is good, else ``ValueError``."""
    if hub := source.hub:
        from huggingface_hub import HfApi

        # To download, its library tries for half a minute to connect.
        HfApi().repo_info(
            hub['repo_id'], revision=hub['revision'], timeout=TIMEOUT
        )
        for again in (False, True):
            place = _from_hub(source, force_download=again)
            if (fault := fault_of(place, source)) is None:
                return place
        raise ValueError(fault)
    place, seen = folder / source.file, sys.stderr.isatty()
    with written_whole(place) as part:
        if source.url.startswith('gdrive://'):
            try:
                import gdown
            except ImportError as error:
                raise ZooError(
                    'weights on Google Drive need gdown: pip install gdown'
                ) from error
            drive_id = source.url.split('/')[2]
            gdown.download(id=drive_id, output=str(part), quiet=not seen)
        else:
            from pooch import HTTPDownloader

            get = HTTPDownloader(seen, chunk_size=1 << 20, timeout=TIMEOUT)
            get(source.url, str(part), None)
        if fault := fault_of(part, source):
            raise ValueError(fault)
    return place


def _from_hub(source: Source, **how: bool) -> Path:
    """A file in the cache of the Hub's library, fetched if need be.

    Of a whole repository, the first of :data:`IN_FOLDER` that it has, with
    the config.  All parts that an index names come along.
    """
    from huggingface_hub import snapshot_download

    repo_id, revision, filename = source.hub.values()

    def get(*names: str) -> Path:
        """Fetch files; the folder of the first."""
        return Path(
            snapshot_download(
                repo_id, revision=revision, allow_patterns=names, **how
            ),
            names[0],
        )

    names = [filename] if filename else IN_FOLDER
    for name in names:
        found = get(name) if filename else get(name, 'config.json')
        if found.is_file():
            break
    else:
        raise FileNotFoundError(f'it holds no {" or ".join(names)}')
    if name.endswith('.index.json'):
        shards = json.loads(found.read_text())['weight_map'].values()
        folder = PurePosixPath(name).parent
        parts = [str(folder / part) for part in dict.fromkeys(shards)]
        get(*parts, str(folder / 'config.json'))
        for part in parts:
            if not found.with_name(PurePosixPath(part).name).is_file():
                raise FileNotFoundError(f'it holds no {part}')
    return found
