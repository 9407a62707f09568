# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Files from a browser: never larger than allowed, never kept."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory

import anyio
from starlette.requests import Request

from .clips import HEAD, ClipError, suffix_of

# Other sites can make a browser post forms, but not this type.
BODY = 'application/octet-stream'
_LONGEST_NAME = 80


class Refused(Exception):
    """A request is not answered.

    Args:
        status: Of HTTP.
        message: One sentence for the page.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@asynccontextmanager
async def received(request: Request, max_bytes: int) -> AsyncIterator[str]:
    """The body of a request as a file, as long as the context lasts.

    The file's name is ours; what the browser calls it is text to show.

    Args:
        request: Its body is the file as it is.
        max_bytes: The most that is written.

    Yields:
        Path of the file.

    Raises:
        Refused: If it is too large, empty, or not sent by the page.
        ClipError: If it is no video.
    """
    if request.headers.get('content-type') != BODY:
        raise Refused(415, f'send the clip itself, as {BODY}')
    too_large = Refused(
        413,
        f'it is larger than {max_bytes / 1e6:g} MB, the most that this page '
        'takes; cut it, or start the page with a larger --max-megabytes',
    )
    announced = request.headers.get('content-length', '0')
    if not announced.isdecimal() or int(announced) > max_bytes:
        raise too_large
    with TemporaryDirectory(prefix='ca2st_') as folder:
        path, size, head = os.path.join(folder, 'clip'), 0, b''
        async with await anyio.open_file(path, 'wb') as file:
            async for piece in request.stream():
                size += len(piece)
                if size > max_bytes:
                    raise too_large
                head += piece[: HEAD - len(head)]
                await file.write(piece)
        if not size:
            raise ClipError('it is empty; upload it again')
        named = path + suffix_of(head)
        os.rename(path, named)
        yield named


def shown_name(request: Request) -> str:
    """What the browser calls the clip, for messages."""
    name = os.path.basename(request.query_params.get('name', ''))
    kept = ''.join(filter(str.isprintable, name)).strip()
    return kept[:_LONGEST_NAME] or 'the clip'
