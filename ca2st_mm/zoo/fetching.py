# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Getting weights: from this machine, else from the first source that works.

Libraries fetch: ``huggingface_hub`` into its own cache (its settings, such as
``HF_HOME``, ``HF_ENDPOINT`` and ``HF_TOKEN``, hold), ``pooch`` and ``gdown``
into ours.  A file is used only if it looks like a checkpoint and has the
listed size and hash; one that has not is fetched again.
"""

import errno
import functools
import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from safetensors import SafetensorError, safe_open

from .catalogue import (
    DRIVE_URL,
    SCHEME,
    Entry,
    Source,
    entries,
    find,
    is_known,
)

logger = logging.getLogger(__name__)
TIMEOUT = 30
"""Seconds to connect, and between two pieces of a file."""
NO_CONNECTION = 'no connection'
# Errors that another source does not help.
OF_THIS_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
# What a folder or a repository of weights holds, the preferred first.
IN_FOLDER = (
    'model.safetensors',
    'model.safetensors.index.json',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
)


class ZooError(RuntimeError):
    """Weights cannot be had or trusted; the message says what to do."""


class Verdict(NamedTuple):
    """A file of the zoo; ``problem`` is None for a good one."""

    name: str
    where: str
    problem: str | None


def default_home() -> Path:
    """Our cache folder: ``CA2ST_MM_HOME`` or one in the home folder."""
    home = os.environ.get('CA2ST_MM_HOME') or '~/.cache/ca2st_mm/weights'
    return Path(home).expanduser().absolute()


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
    settings = ('CA2ST_MM_OFFLINE', 'HF_HUB_OFFLINE')
    values = [os.environ.get(key, '').lower() for key in settings]
    offline |= any(v not in ('', '0', 'false', 'no') for v in values)
    hub = Source(source).hub
    if hub and (hub['filename'] or 'index.json').endswith('index.json'):
        return _fetch_repository(offline, **hub)
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


def is_here(entry: Entry) -> bool:
    """Whether a file of an entry is on this machine, good or not."""
    return any(place.is_file() for place, _ in _places(entry))


def verify(*names: str) -> Iterator[Verdict]:
    """Check the files on this machine: of some entries, or all.

    Yields:
        A verdict for each file, and for each named entry that has none.

    Raises:
        ValueError: If the zoo has no entry of a name.
    """
    for entry in map(find, names or [e.name for e in entries()]):
        for place, source in _places(entry):
            if place.is_file():
                yield Verdict(entry.name, str(place), _problem(place, source))
        if names and not is_here(entry):
            yield Verdict(entry.name, '', 'not on this machine')


def check(*names: str) -> Iterator[Verdict]:
    """Ask the sources of some entries, or all, whether they have the file.

    Nothing is fetched.

    Raises:
        ValueError: If the zoo has no entry of a name.
    """
    for entry in map(find, names or [e.name for e in entries()]):
        for source in entry.sources:
            try:
                problem = _ask(source)
            except Exception as error:  # each library has its own kinds
                problem = in_short(error)
            yield Verdict(entry.name, source.url, problem)


def _entry_of(source: str) -> Entry:
    if not is_known(source) or source.startswith(SCHEME):
        return find(source)
    url, _, sha256 = source.partition('#sha256=')
    if sha256 and not re.fullmatch('[0-9a-f]{64}', sha256):
        raise ValueError(f'{source!r}: a sha256 has 64 digits')
    one = Source(url, sha256=sha256 or None)
    # Files of one name from two places must not meet in one folder.
    place = hashlib.sha256(url.encode()).hexdigest()[:12]
    return Entry(f'web-{place}', one.file, None, None, (one,))


def _places(entry: Entry) -> Iterator[tuple[Path, Source]]:
    """Where the files of an entry are, or would be; ours come first."""
    for source in entry.sources:
        yield default_home() / entry.name / source.file, source
        if source.hub:
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(**source.hub)
            if isinstance(cached, str):
                yield Path(cached), source


def _locate(entry: Entry) -> Path | None:
    for place, source in _places(entry):
        if place.is_file():
            problem = _problem(place, source)
            if problem is None:
                return place
            logger.warning('%s is not used: %s', place, problem)
    return None


def _first_good(entry: Entry, name: str) -> Path:
    tried = []
    for source in entry.sources:
        logger.info('%s: fetching %s', entry.name, source.url)
        try:
            return _download(entry, source)
        except ZooError:  # says what to do
            raise
        except Exception as error:  # each library has its own kinds
            if getattr(error, 'errno', None) in OF_THIS_MACHINE:
                raise
            url, why = source.browser_url, in_short(error)
            if why == NO_CONNECTION:
                url = urlsplit(url).hostname
            tried.append(f'{url} ({why})')
            logger.info('%s', tried[-1])
    raise ZooError(
        f'no source of {name} gives its weights, tried '
        f'{", ".join(dict.fromkeys(tried))}: {_advice(entry)}'
    )


def _advice(entry: Entry) -> str:
    """The one thing to do, in the words of a user."""
    place = default_home() / entry.name
    if entry.name.startswith('web-'):
        [source] = entry.sources
        return f'put {source.browser_url} at {place / source.file}'
    return (
        f'run `ca2st weights get {entry.name}` where there is a '
        f'network, and copy the file into {place}'
    )


def _download(entry: Entry, source: Source) -> Path:
    """Fetch one file, and return it if it is good.

    Raises:
        ValueError: If it is not.
    """
    if source.hub:
        from huggingface_hub import hf_hub_download

        if problem := _ask(source):
            raise ValueError(problem)
        for again in (False, True):
            place = Path(hf_hub_download(**source.hub, force_download=again))
            problem = _problem(place, source)
            if problem is None:
                return place
        raise ValueError(problem)
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
        if problem := _problem(part, source):
            raise ValueError(problem)
        return part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def _fetch_repository(
    offline: bool, repo_id: str, revision: str | None, filename: str | None
) -> Path:
    """Weights of a repository of the Hub, with all of their parts."""
    from huggingface_hub import HfApi, snapshot_download

    get = functools.partial(snapshot_download, repo_id, revision=revision)
    names = IN_FOLDER if filename is None else (filename,)
    try:
        if found := _whole(get(local_files_only=True), names):
            return found
    except FileNotFoundError:  # the Hub's library has nothing of it
        pass
    pinned = f' --revision {revision}' if revision else ''
    advice = (
        f'run `hf download {repo_id}{pinned}` where there is a network, and '
        'name the folder that it prints'
    )
    if offline:
        raise ZooError(
            f'the weights of {repo_id} are not on this machine, and offline '
            f'nothing is fetched: {advice}'
        )
    try:
        ask_hub(repo_id, revision)
        there = HfApi().list_repo_files(repo_id, revision=revision)
        name = next((name for name in names if name in there), None)
        if name is None:
            raise ValueError(f'it holds none of {", ".join(names)}')
        stem, kind = name.removesuffix('.index.json').rsplit('.', 1)
        # And the config, whose class names go with the weights.
        wanted = [name, f'{stem}-*-of-*.{kind}', 'config.json']
        if found := _whole(get(allow_patterns=wanted), (name,)):
            return found
        raise ValueError(f'{name} names parts that it does not hold')
    except Exception as error:  # the library has many kinds
        raise ZooError(
            f'the Hub gives no weights of {repo_id} ({in_short(error)}): '
            f'{advice}'
        ) from error


def _whole(folder: str, names: tuple[str, ...]) -> Path | None:
    """The first of some files that is there, with its parts; None if none."""
    for place in (Path(folder, name) for name in names):
        if place.is_file():
            parts = []
            if place.name.endswith('.index.json'):
                parts = json.loads(place.read_text())['weight_map'].values()
            if all((place.parent / part).is_file() for part in parts):
                return place
    return None


def _problem(path: Path, source: Source) -> str | None:
    """Why a file cannot be that of a source; None if it can."""
    stat = path.stat()
    problem = _no_checkpoint(path) or _difference(source, stat.st_size)
    if problem is None and source.sha256:
        sha256 = _sha256(path, stat.st_size, stat.st_mtime_ns)
        problem = _difference(source, None, sha256)
    return problem


@functools.cache
def _sha256(path: Path, size: int, changed: int) -> str:
    """The hash of a file, once for each state of it."""
    from pooch import file_hash

    return file_hash(str(path))


def _no_checkpoint(path: Path) -> str | None:
    """Whether the file begins, and ends, as no checkpoint does."""
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


def _difference(
    source: Source, size: int | None, sha256: str | None = None
) -> str | None:
    if None not in (source.size, size) and size != source.size:
        return f'{size} bytes instead of {source.size}'
    if None not in (source.sha256, sha256) and not sha256.startswith(
        source.sha256
    ):
        return f'sha256 {sha256} instead of {source.sha256}'
    return None


def ask_hub(repo_id: str, revision: str | None) -> None:
    """Raise at once if a repository cannot be had from the Hub.

    Its library tries for half a minute to connect.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    url = hf_hub_url(repo_id, 'config.json', revision=revision)
    try:
        get_hf_file_metadata(url, timeout=TIMEOUT)
    except EntryNotFoundError:  # but the repository is there
        pass


def _ask(source: Source) -> str | None:
    """Why a host, as far as it tells, has not the file; None if it may."""
    if source.hub:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        told = get_hf_file_metadata(hf_hub_url(**source.hub), timeout=TIMEOUT)
        is_sha256 = re.fullmatch('[0-9a-f]{64}', told.etag or '')
        return _difference(source, told.size, told.etag if is_sha256 else None)
    import requests

    reply = requests.head(
        source.browser_url, allow_redirects=True, timeout=TIMEOUT
    )
    reply.raise_for_status()
    if 'text/html' in reply.headers.get('Content-Type', ''):
        # Google Drive asks for a confirmation first, which gdown gives.
        is_drive = DRIVE_URL.fullmatch(source.url)
        return None if is_drive else 'a web page in place of weights'
    length = reply.headers.get('Content-Length', '')
    return _difference(source, int(length) if length.isdigit() else None)


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
