# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Opening media files: which stream is read, and what a decoder may raise.

Every file is opened here, so that all readers, commands and pages choose the
same streams and name a file that cannot be read in the same way.
"""

import errno
import functools
import gc
import io
import os
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from mmengine import fileio

from .faults import MediaError, RefusedError, SampleFault, warn

# What counts as a media file in a folder, in lower case.
VIDEO_EXTENSIONS = (
    *('.mp4', '.m4v', '.mov', '.3gp', '.mkv', '.webm', '.avi', '.wmv'),
    *('.flv', '.mpg', '.mpeg', '.vob', '.ts', '.mts', '.m2ts', '.ogv'),
    '.gif',
)
NO_VIDEO = f'the folder holds no video ({", ".join(VIDEO_EXTENSIONS)})'
AUDIO_EXTENSIONS = ('.wav', '.flac', '.ogg', '.mp3', '.m4a', '.aac', '.opus')

_STORES_TIMES = {'mov', 'matroska', 'mpegts', 'flv', 'asf', 'wav', 'flac'}
# A clock that goes back by more seconds than this has started again.
_RESTART = 1.0
_LISTS = ('hls', 'dash', 'concat', 'imf')
# Tags are not read, whatever their encoding; PyAV 19 asks no more.
_ANY_TAGS = (
    {}
    if int(av.__version__.split('.')[0]) >= 19
    else {'metadata_errors': 'replace'}
)
# The largest frame: 8K (8192 x 4320) passes.
MAX_PIXELS = 36_000_000
# A frame may leave the decoder this many frames late.
MAX_DISORDER = 16

CONVERT = "Convert it with FFmpeg ('ffmpeg -i FILE NEW.mp4'), or leave it out."
_IS_A_LIST = 'it is a list of other files, not a media file'
_CORRECT_PATH = 'Correct its path.'
# PyAV raises the types of Python where FFmpeg's error has one, and
# AttributeError or UnicodeDecodeError (a ValueError) from half-opened files.
_DECODER_ERRORS = (
    *(FFmpegError, OSError, ValueError, RuntimeError, AttributeError),
    *(IndexError, OverflowError, MemoryError),
)
_WRONG_PATH = FileNotFoundError, PermissionError, IsADirectoryError


# Threads are not copied by a fork, and FFmpeg waits for those of an object
# that is freed.  What the parent left to the garbage collector, also through
# PyAV itself, must therefore not be freed in a worker.
if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=gc.freeze)


def files_below(folder: str, extensions: Sequence[str]) -> list[str]:
    """Paths of the media files in a folder, at any depth, by name.

    Links are followed, each folder is read once; hidden files and folders
    are left out, such as the ``._clip.mp4`` that macOS writes.  Pipes and
    links to nothing are left out with a warning.  Extensions are in lower
    case, with the dot.
    """
    found, seen = [], set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name[0] != '.')
        found += [Path(here, name) for name in names if name[0] != '.']
    media = [path for path in found if path.suffix.lower() in extensions]
    files = sorted(path for path in media if path.is_file())
    if odd := sorted(set(media) - set(files)):
        warn(
            f'{folder}: left out are {len(odd)} links to nothing or special '
            f'files, such as {odd[0]}'
        )
    return [str(path) for path in files]


class StreamInfo(NamedTuple):
    """One video or audio stream; what the header does not say is None.

    Attributes:
        index: Its number in the container.
        codec: Name of the codec; ``'unknown'`` without a decoder.
        language: Three letters.
        sample_rate: Audio: samples per second.
        width: Video: pixels.
        height: Video: pixels.
        frames: Video: their number; 0 if unknown.
    """

    index: int
    codec: str = 'unknown'
    language: str | None = None
    sample_rate: int | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None


class MediaInfo(NamedTuple):
    """What the header of a file says.

    Attributes:
        format: Name of the container, as FFmpeg calls it.
        start: Second at which the container's clock starts.
        seconds: Announced length; None if the header does not say it.
        videos: All video streams, without cover images.
        audios: All audio streams.
        video: The video stream that is read; None if there is none.
        audio: The audio stream that is read; None if there is none.
    """

    format: str
    start: float
    seconds: float | None
    videos: tuple[StreamInfo, ...]
    audios: tuple[StreamInfo, ...]
    video: StreamInfo | None
    audio: StreamInfo | None

    def choices(self, kind: str) -> list[str]:
        """Which stream is read, in words; empty if there is no choice."""
        streams, read = getattr(self, f'{kind}s'), getattr(self, kind)
        if len(streams) < 2 or read is None:
            return []
        known = ', '.join(filter(None, (read.codec, read.language)))
        return [
            f'{kind}: stream {read.index} ({known}) is read, one of '
            f'{len(streams)}'
        ]


def probe(path: str) -> MediaInfo:
    """Look at the header of a media file, without decoding.

    Raises:
        MediaError: If the file cannot be read; names it.

    >>> probe('clip.mp4').audio.sample_rate
    16000
    """
    with (
        decoder_errors('the streams of', path),
        open_container(path) as container,
    ):
        found, read = {}, {}
        for kind in ('video', 'audio'):
            infos = {s.index: _info(s) for s in _streams(container, kind)}
            chosen = choose_stream(container, kind)
            found[f'{kind}s'] = tuple(infos.values())
            read[kind] = infos[chosen.index] if chosen else None
        seconds = container.duration and container.duration / av.time_base
        return MediaInfo(
            container.format.name,
            clock_start(container),
            seconds,
            **found,
            **read,
        )


def open_container(
    path: str, data: bytes | Any | None = None
) -> InputContainer:
    """Open a file.

    Args:
        path: Its name; one with a colon is a file, one with ``://`` is
            fetched by MMEngine's file backends.
        data: The whole file, for storage that has no local paths; or an
            object to ``read`` from.
    """
    if data is None and '://' in path:
        data = fileio.get(path)
    source = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        container = av.open(
            f'file:{path}' if source is None else source,
            # FFmpeg decodes a little while it opens a file, and a playlist
            # could name files elsewhere.
            options=dict(
                max_pixels=str(MAX_PIXELS),
                protocol_whitelist='file,crypto,data',
            ),
            **_ANY_TAGS,
        )
    except PermissionError as error:
        # A playlist names what FFmpeg may not open; a file that this process
        # may not read has another number.
        if error.errno != errno.EPERM:
            raise
        raise RefusedError(_IS_A_LIST, _CORRECT_PATH) from error
    if container.format.name in _LISTS:
        container.close()
        raise RefusedError(_IS_A_LIST, _CORRECT_PATH)
    return container


def choose_stream(container: InputContainer, kind: str) -> Any:
    """The stream that is read: the default one, else the first decodable.

    Cover images are no video, and streams without a decoder are left alone:
    PyAV ends the process when they are decoded.  None if there is none.
    """
    streams = [s for s in _streams(container, kind) if s.codec_context]
    default = (s for s in streams if s.disposition & Disposition.default)
    return next(default, streams[0] if streams else None)


def start_of(container: InputContainer) -> float:
    """Second at which the container's clock starts, by its header."""
    return (container.start_time or 0) / av.time_base


def clock_start(container: InputContainer) -> float:
    """Second of the first data of a file that was just opened.

    FFmpeg gives frames of mkv below 0 no time; packets are read up to the
    first that has one, and those before it are counted.
    """
    start, stream = start_of(container), choose_stream(container, 'video')
    if 'matroska' not in container.format.name or stream is None:
        return start
    step = 1 / float(stream.average_rate or 25)
    untimed, times = 0, []
    for packet in container.demux(stream):
        if packet.pts is not None:
            times.append(float(packet.pts * packet.time_base))
        elif packet.size:
            untimed += 1
        # Frames are stored in another order than they are shown in.
        if not untimed or len(times) > MAX_DISORDER:
            break
    return min([start, *(time - untimed * step for time in times)])


def stores_times(container: InputContainer) -> bool:
    """Whether times are stored, so that they are the same after a jump.

    FFmpeg guesses those of avi and of MPEG program streams from what comes
    before.  In joined transport streams a time is there twice.
    """
    formats = container.format.name.split(',')
    if 'mpegts' not in formats:
        return not _STORES_TIMES.isdisjoint(formats)
    if container.file is not None:  # in memory
        data = container.file.file.getvalue()
        return not _clock_jumps_back.__wrapped__(data)
    path = container.name.removeprefix('file:')
    return not _clock_jumps_back(container.name, os.stat(path).st_mtime_ns)


def is_restart(time: float, last: float) -> bool:
    """Whether a clock starts again, as where recordings were joined.

    >>> is_restart(time=1.4, last=60.0), is_restart(time=59.9, last=60.0)
    (True, False)
    """
    return time < last - _RESTART


def missing_stream(
    container: InputContainer, kind: str, path: str
) -> MediaError:
    """The error for a file in which ``choose_stream`` finds nothing."""
    if list(_streams(container, kind)):
        why = f'FFmpeg has no decoder for the codec of its {kind}'
        return MediaError(kind, path, why, CONVERT)
    return MediaError(kind, path, f'it has no {kind} stream', _CORRECT_PATH)


@contextmanager
def decoder_errors(kind: str, path: str) -> Iterator[None]:
    """Turn what decoders raise into an error that names the file.

    Args:
        kind: What is read: ``'video'``, ``'the audio of'``.
        path: The file.

    Raises:
        MediaError: In place of the error.
    """
    try:
        yield
    except SampleFault:
        raise
    except _DECODER_ERRORS as error:
        # OSError and PyAV's errors say in `strerror` what went wrong.
        why = getattr(error, 'strerror', None) or str(error).strip()
        advice = getattr(error, 'advice', None)
        if isinstance(error, _WRONG_PATH):
            advice = _CORRECT_PATH
        elif isinstance(error, MemoryError):
            why = 'decoding it takes more memory than there is'
        elif os.path.isfile(path) and not os.path.getsize(path):
            why = 'it is empty'
        why = why or type(error).__name__
        raise MediaError(kind, path, why, advice) from error


def packets_of(container: InputContainer, stream: Any) -> Iterator[av.Packet]:
    """The packets of a stream from here on; the last one is empty.

    Raises:
        RefusedError: If they cannot be decoded without a key, or if the
            file ends before the last packet that its index lists.
    """
    for packet in container.demux(stream):
        # What is encrypted begins with a key frame.
        if packet.is_keyframe and packet.has_sidedata('encryption_info'):
            raise RefusedError('it is encrypted', 'Decrypt it first.')
        yield packet
    # Where the cut is between two packets, or in one of another stream,
    # FFmpeg reads a shorter file without a word.
    for one in stream if isinstance(stream, list) else [stream]:
        index = one.index_entries
        if len(index) and 0 < container.size < index[-1].pos + index[-1].size:
            raise RefusedError('it is cut off')


def decode(
    container: InputContainer,
    stream: Any,
    strict: bool = False,
    needed: Container[int] | None = None,
) -> Iterator[tuple[av.Packet, list]]:
    """Packets with their frames; a damaged packet has none.

    Players drop a packet that cannot be decoded and go on, and so does this.

    Args:
        container: An open file.
        stream: The stream, or a list of several.
        strict: Whether a damaged packet is an error.
        needed: Times of frames, in units of the stream; of others only those
            that frames are made of are decoded.  None: all.

    Raises:
        FFmpegError: If nothing at all could be decoded, or at the first
            damaged packet.
    """
    any_frame, last_error = False, None
    for packet in packets_of(container, stream):
        skip = needed is not None and packet.pts not in needed
        context = packet.stream.codec_context
        context.skip_frame = 'NONREF' if skip else 'DEFAULT'
        try:
            frames = packet.decode()
        except EOFError:
            frames = []
        except FFmpegError as error:
            if strict:
                raise
            frames, last_error = [], error
        any_frame = any_frame or bool(frames)
        yield packet, frames
    if last_error is not None and not any_frame:
        raise last_error


@functools.lru_cache(maxsize=4096)
def _clock_jumps_back(file: str | bytes, changed: int = 0) -> bool:
    """Whether times of a transport stream go back, as where it is joined.

    All of it is read, once as it is now: ``changed`` is a part of the key.
    """
    source = io.BytesIO(file) if isinstance(file, bytes) else file
    with av.open(source, **_ANY_TAGS) as container:
        last: dict[int, float] = {}
        for packet in container.demux():
            if packet.dts is None:
                continue
            time = float(packet.dts * packet.time_base)
            if is_restart(time, last.get(packet.stream_index, time)):
                return True
            last[packet.stream_index] = time
    return False


def _streams(container: InputContainer, kind: str) -> Iterator:
    """All streams of a kind that are no cover images."""
    for stream in getattr(container.streams, kind):
        if not stream.disposition & Disposition.attached_pic:
            yield stream


def _info(stream: Any) -> StreamInfo:
    context = stream.codec_context
    sizes = ('sample_rate', 'width', 'height')
    return StreamInfo(
        stream.index,
        context.name if context else 'unknown',
        stream.language,
        *(getattr(context, name, None) for name in sizes),
        stream.frames if stream.type == 'video' else None,
    )
