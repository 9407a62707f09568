# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a file from a stranger must be before any reader opens it.

FFmpeg tells formats by content and knows some, playlists among them, that
name other files or addresses to be opened.  So the first bytes decide here,
in a way that no reader can see differently: none of these containers begins
with text.
"""

import av

from ca2st_mm.apis.windows import Extent, extent_of
from ca2st_mm.datasets.faults import MediaError

MP4, MATROSKA, AVI, MPEG = '.mp4', '.mkv', '.avi', '.mpg'
CONTAINERS = 'mp4, mov, mkv, webm, avi or mpg'
HEAD = 12
# The kinds of box that mp4 and mov files begin with.
_BOXES = b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip', b'pnot'
# 8k.  A file of some kilobytes can hold pictures of gigabytes.
_MAX_PIXELS = 7680 * 4320
# FFmpeg's names, and nothing but files: a second opinion.
_ONLY = dict(
    format_whitelist='mov,mp4,matroska,webm,avi,mpeg',
    protocol_whitelist='file',
)


class ClipError(ValueError):
    """A clip is not taken; the message says why, without the name."""


def suffix_of(head: bytes) -> str:
    """The usual ending of the container that begins with these bytes.

    Args:
        head: The first :data:`HEAD` bytes of the file.

    Raises:
        ClipError: If it is none of ours.
    """
    if head[4:8] in _BOXES:
        return MP4
    if head.startswith(b'\x1a\x45\xdf\xa3'):
        return MATROSKA
    if head.startswith(b'RIFF') and head[8:12] == b'AVI ':
        return AVI
    if head.startswith(b'\x00\x00\x01\xba'):
        return MPEG
    raise ClipError(
        f'it is no video that this page reads; make it {CONTAINERS}'
    )


def check_clip(path: str, max_seconds: float) -> Extent:
    """Look at a clip without decoding it.

    Args:
        path: The file.
        max_seconds: How long it may last.

    Returns:
        When it begins and ends.

    Raises:
        ClipError: If it has no picture, is too large or too long.
        MediaError: If it cannot be read.
    """
    try:
        with av.open(path, options=dict(_ONLY)) as container:
            sizes = [(s.width, s.height) for s in container.streams.video]
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError('video', path, error) from error
    if not sizes:
        raise ClipError('it has no picture; upload a video')
    for width, height in sizes:
        if width * height > _MAX_PIXELS:
            raise ClipError(
                f'its pictures have {width} x {height} pixels, more than 8k; '
                'make them smaller'
            )
    extent = extent_of(path)
    seconds = extent.end - extent.start
    if seconds > max_seconds:
        raise ClipError(
            f'it lasts {seconds:.1f} s and this page takes {max_seconds:g} s '
            'at most; cut it, or start the page with a larger --max-seconds'
        )
    return extent
