# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Files from a browser: never larger than allowed, never kept, only video.

FFmpeg recognizes formats by content and knows some, playlists among them,
that name other files or URLs to be opened.  So the first bytes decide here
before any reader opens a file, in a way that no reader can see differently:
none of these containers begins with text.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory

import anyio
from starlette.requests import Request

from ca2st_mm.apis.windows import Extent, extent_of
from ca2st_mm.datasets.containers import MAX_PIXELS, probe

CONTAINERS = 'mp4, mov, mkv, webm, avi, mpg, ts, flv, wmv or ogv'
HEAD = 189  # bytes: a packet of mpegts, and the first one of the next
# FFmpeg's names of these containers: a second opinion.
_FORMATS = 'mov', 'matroska', 'avi', 'mpeg', 'mpegts', 'flv', 'asf', 'ogg'
_NO_CONTAINER = (
    f'it is no video that this page reads; convert it to {CONTAINERS}'
)
# Other sites can make a browser post forms, but not this type.
BODY = 'application/octet-stream'
_LONGEST_NAME = 80
# The kinds of box that mp4 and mov files begin with.
_BOXES = b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip', b'pnot'
_BEGINNINGS = {
    b'\x1a\x45\xdf\xa3': '.mkv',
    b'\x00\x00\x01\xba': '.mpg',
    b'FLV\x01': '.flv',
    b'\x30\x26\xb2\x75\x8e\x66\xcf\x11': '.wmv',
    b'OggS\x00': '.ogv',
}


class Refused(Exception):
    """A request is not answered.

    Args:
        status: Of HTTP.
        message: One sentence for the page.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ClipError(ValueError):
    """A clip is not taken; the message says why, without the name."""


@asynccontextmanager
async def received(
    request: Request, max_bytes: int, max_seconds: float
) -> AsyncIterator[str]:
    """The body of a request as a file, as long as the context lasts.

    The file's name is ours; what the browser calls it is text to show.

    Yields:
        Path of the file.

    Raises:
        Refused: If it is too large or too slow, or sent as something else.
        ClipError: If it is no video.
    """
    if request.headers.get('content-type') != BODY:
        raise Refused(
            415,
            'send the clip itself, not a form: curl -H "Content-Type: '
            f'{BODY}" --data-binary @clip.mp4 URL',
        )
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
        try:
            with anyio.fail_after(max_seconds):
                async with await anyio.open_file(path, 'wb') as file:
                    async for piece in request.stream():
                        size += len(piece)
                        if size > max_bytes:
                            raise too_large
                        head += piece[: HEAD - len(head)]
                        await file.write(piece)
        except TimeoutError:
            raise Refused(
                408,
                f'it takes more than {max_seconds:g} s to come; send a '
                'smaller one, or start the page with a larger '
                '--upload-seconds',
            ) from None
        if not size:
            raise ClipError('it is empty; upload it again')
        named = path + suffix_of(head)
        os.rename(path, named)
        yield named


def shown_name(request: Request) -> str:
    """What the browser calls the clip, or else the request, for messages."""
    name = os.path.basename(request.query_params.get('name', ''))
    kept = ''.join(filter(str.isprintable, name)).strip()
    if not kept and request.method != 'POST':
        return f'{request.method} {request.scope["path"][:_LONGEST_NAME]}'
    return kept[:_LONGEST_NAME] or 'the clip'


def suffix_of(head: bytes) -> str:
    """The usual ending of the container that begins with these bytes.

    Raises:
        ClipError: If it is none of those that the page takes.
    """
    if head[4:8] in _BOXES:
        return '.mp4'
    if head.startswith(b'RIFF') and head[8:12] == b'AVI ':
        return '.avi'
    # A packet of tables, which comes first; no text holds its zeros.
    if head[:1] == head[188:] == b'G' and b'\x00' in head[:8]:
        return '.ts'
    for beginning, suffix in _BEGINNINGS.items():
        if head.startswith(beginning):
            return suffix
    raise ClipError(_NO_CONTAINER)


def check_clip(path: str, max_seconds: float) -> Extent:
    """Look at a clip without decoding it; when it begins and ends.

    Raises:
        ClipError: If it has no video, is too large or too long.
        MediaError: If it cannot be read.
    """
    info = probe(path)
    video = info.video
    if info.format.split(',')[0] not in _FORMATS:
        raise ClipError(_NO_CONTAINER)
    if video is None:
        raise ClipError(
            'it has no video stream that can be decoded; upload a video'
        )
    # A file of some kilobytes can hold frames of gigabytes.
    if video.width * video.height > MAX_PIXELS:
        raise ClipError(
            f'its frames have {video.width} x {video.height} pixels, more '
            'than 8k; make them smaller'
        )
    extent = extent_of(path)
    seconds = extent.end - extent.start
    if seconds > max_seconds:
        raise ClipError(
            f'it lasts {seconds:.1f} s and this page takes {max_seconds:g} s '
            'at most; cut it, or start the page with a larger --max-seconds'
        )
    return extent
