# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What names on a command line mean: files, folders, lists and URLs."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import urlsplit

import requests

from ca2st_mm.apis.prediction import Failure
from ca2st_mm.apis.sources import VideoAndAudio
from ca2st_mm.apis.windows import Job, Key, windows_of
from ca2st_mm.datasets.annotations import read_annotations
from ca2st_mm.datasets.containers import (
    NO_VIDEO,
    VIDEO_EXTENSIONS,
    files_below,
)
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.datasets.list_files import ListFile

LISTS = '.csv', '.txt'
MAX_BYTES = 2 << 30
_TIMEOUT = 10, 60  # seconds to connect, and between two pieces
_PIECE = 1 << 20


class InputError(ValueError):
    """A source cannot be found or fetched; the message says why."""


class Media(NamedTuple):
    """A file that a name stands for, or a span of it.

    ``name`` is what it may be called in a folder of results: its path below
    the folder or list that named it without extension, or its id.
    """

    path: str
    name: str
    audio: str | None = None
    start: float | None = None
    end: float | None = None


def find_media(
    names: Sequence[str], root: str | None = None
) -> Iterator[Media | Failure]:
    """Find the files that names mean.

    Names are files, folders (their videos at any depth, by name), URLs of
    media files, and lists: tables (.csv), or text files with one path a line,
    with or without a label; ``root`` is the folder that paths in lists are
    relative to, that of each list if None.

    Raises:
        ListFileError: If a list is not understood.
        FileNotFoundError: If there is no such list.
    """
    for name in names:
        if os.path.isdir(name):
            below = files_below(name, VIDEO_EXTENSIONS)
            if not below:
                yield Failure(name, None, None, NO_VIDEO)
            for path in below:
                inner = Path(path).relative_to(name).with_suffix('')
                yield Media(path, str(inner))
        elif name.endswith(LISTS):
            yield from _listed(name, root)
        else:
            yield Media(name, Path(urlsplit(name).path).stem)


def _name_of(file: str) -> str:
    """A path in a list without extension, and never outside of a folder."""
    inner = os.path.normpath(f'/{file.lstrip("/")}')[1:]
    return str(Path(inner).with_suffix(''))


def _listed(path: str, root: str | None) -> Iterator[Media]:
    folder = Path(path).parent if root is None else Path(root)
    first = ListFile(path)
    has_columns = 'file' in (first.head() or [[]])[0]
    if path.endswith('.txt') and not (has_columns or first.has_path_labels()):
        for _, line in first.lines:
            file = line.strip()
            yield Media(str(folder / file), _name_of(file))
        return
    for row in read_annotations(path, {}):
        name = row['id'] or _name_of(row['file'])
        if row['id'] is None and (row['start'], row['end']) != (None, None):
            name = f'{name}_{row["start"] or 0:g}_{row["end"] or "end"}'
        audio = row['audio'] and str(folder / row['audio'])
        video = str(folder / row['file'])
        yield Media(video, name, audio, row['start'], row['end'])


def find_jobs(
    found: Iterable[Media | Failure],
    window: float | None = None,
    stride: float | None = None,
    done: Collection[Key] = (),
) -> Iterator[Job | Failure]:
    """Cut what is to be predicted into jobs, or say why a name cannot be.

    Lazy: a file is opened, and a URL fetched, when its turn comes; a fetched
    file is deleted before that of the next name is opened.  Without a window
    (seconds) there is one answer a file; answers that are ``done`` are left
    out.

    Raises:
        ValueError: If a length is not positive.
    """
    for media in found:
        if isinstance(media, Failure):
            yield media
            continue
        key = media.path, media.start, media.end
        if window is None and key in done:
            continue
        try:
            for job in _jobs_of(media, window, stride):
                if tuple(job.shown.values()) not in done:
                    yield job
        except (InputError, MediaError) as error:
            reason = getattr(error, 'reason', None) or str(error)
            yield Failure(*key, reason)


def _jobs_of(
    media: Media, window: float | None, stride: float | None
) -> Iterator[Job]:
    with ExitStack() as stack:
        path = media.path
        if path.startswith(('http://', 'https://')):
            folder = stack.enter_context(TemporaryDirectory())
            path = fetch(path, folder)
        if not os.path.isfile(path):
            raise InputError('there is no such file or folder')
        source = path
        if media.audio is not None:
            source = VideoAndAudio(path, media.audio)
        span = media.start, media.end
        if window is None:
            shown = dict(source=media.path, start=span[0], end=span[1])
            yield Job(source, *span, shown)
            return
        stride = window if stride is None else stride
        for job in windows_of(path, window, stride, media.path, span):
            yield job._replace(source=source)


def fetch(url: str, folder: str, max_bytes: int = MAX_BYTES) -> str:
    """Fetch a media file into a folder; its path.

    If that fails, some of it may lie there.

    Raises:
        InputError: If the server does not give it, or it is larger.
    """
    path = os.path.join(folder, f'fetched{Path(urlsplit(url).path).suffix}')
    try:
        with (
            open(path, 'wb') as file,
            requests.get(url, stream=True, timeout=_TIMEOUT) as response,
        ):
            response.raise_for_status()
            size = int(response.headers.get('Content-Length', 0))
            for piece in response.iter_content(_PIECE):
                file.write(piece)
                if max(size, file.tell()) > max_bytes:
                    raise InputError(
                        f'it is larger than {max_bytes / 1e6:.0f} MB; '
                        'download it yourself and name the file'
                    )
    except requests.HTTPError as error:
        answer = f'{error.response.status_code} {error.response.reason}'
        raise InputError(f'the server answers {answer}') from error
    except requests.RequestException as error:
        raise InputError(
            f'it cannot be fetched ({type(error).__name__}); check the URL '
            'and the connection'
        ) from error
    return path
