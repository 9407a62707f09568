# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From what a user names to files: folders are listed, addresses fetched."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import requests

from ca2st_mm.datasets.containers import VIDEO_EXTENSIONS

from .many import Failure

MAX_BYTES = 2 << 30
_TIMEOUT = 10, 60  # seconds to connect, and between two pieces
_PIECE = 1 << 20


class InputError(ValueError):
    """A source cannot be found or fetched; the message says why."""


def is_address(name: str) -> bool:
    """Whether a source is fetched from the web."""
    return name.startswith(('http://', 'https://'))


def local_files(
    names: Sequence[str], folder: str
) -> Iterator[tuple[str, str] | Failure]:
    """Find the files that sources stand for.

    Args:
        names: Files, folders (their videos at any depth, by name), and
            addresses of media files.
        folder: Where fetched files go.

    Yields:
        The name to show and the file; or the failure of a name.
    """
    for name in names:
        try:
            if is_address(name):
                yield name, fetch(name, folder)
            elif os.path.isdir(name):
                yield from ((path, path) for path in videos_below(name))
            elif os.path.isfile(name):
                yield name, name
            else:
                raise InputError('there is no such file or folder')
        except InputError as error:
            yield Failure(name, None, None, str(error))


def videos_below(folder: str) -> list[str]:
    """Paths of the videos in a folder, at any depth, by name.

    Raises:
        InputError: If there is none.
    """
    found = [
        str(path)
        for path in sorted(Path(folder).rglob('*'))
        if path.suffix.lower() in VIDEO_EXTENSIONS and path.is_file()
    ]
    if not found:
        raise InputError(
            f'the folder holds no video ({", ".join(VIDEO_EXTENSIONS)})'
        )
    return found


def fetch(address: str, folder: str, max_bytes: int = MAX_BYTES) -> str:
    """Fetch a media file.

    Args:
        address: ``http(s)://...``.
        folder: Where to put it.
        max_bytes: The most that is fetched.

    Returns:
        The file's path.

    Raises:
        InputError: If the server does not give it, or it is larger.
    """
    too_large = InputError(
        f'it is larger than {max_bytes / 1e6:.0f} MB; download it yourself '
        'and name the file'
    )
    suffix = Path(urlsplit(address).path).suffix
    number = len(os.listdir(folder))
    path = os.path.join(folder, f'{number}{suffix}')
    try:
        with requests.get(address, stream=True, timeout=_TIMEOUT) as answer:
            answer.raise_for_status()
            if int(answer.headers.get('Content-Length', 0)) > max_bytes:
                raise too_large
            with open(path, 'wb') as file:
                for piece in answer.iter_content(_PIECE):
                    file.write(piece)
                    if file.tell() > max_bytes:
                        raise too_large
    except requests.HTTPError as error:
        answer = error.response
        raise InputError(
            f'the server answers {answer.status_code} {answer.reason}'
        ) from error
    except requests.RequestException as error:
        raise InputError(
            f'it cannot be fetched ({type(error).__name__}); check the '
            'address and the connection'
        ) from error
    return path
