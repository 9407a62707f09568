# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Making media files out of others: resize, trim, take the sound.

PyAV does the work, so no ffmpeg program is needed.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
import torch
from av.error import FFmpegError
from torchaudio.functional import resample

from .faults import MediaError, NoSoundError
from .kept_sound import add_sound
from .media import read_sound
from .media_writer import sound_pieces
from .readers.frame_index import (
    SLACK,
    Span,
    video_stream,
)

_SOUND_BITS = 96000  # a second, of re-encoded AAC


class Encoding(NamedTuple):
    """How pictures are encoded (H.264).

    Attributes:
        short_side: Pixels; None keeps the size. Never enlarges.
        crf: Quality, lower is better; 18 is nearly transparent.
        key_every: Frames from one key frame to the next: fewer make jumps
            in long files faster and the files larger.
        preset: Speed of x264.
    """

    short_side: int | None = None
    crf: int = 18
    key_every: int = 50
    preset: str = 'veryfast'


Paint = Callable[[av.VideoFrame, float], av.VideoFrame]


def _as_it_is(picture: av.VideoFrame, second: float) -> av.VideoFrame:
    """Paint nothing."""
    return picture


@contextmanager
def finished_or_nothing(path: str) -> Iterator[str]:
    """A temporary name that becomes ``path`` only if all went well.

    Args:
        path: The final name; its folder is made.

    Yields:
        The name to write to, in the same folder and with the same extension.

    Raises:
        MediaError: In place of a codec's error; names the file.
    """
    folder, name = os.path.split(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    part = os.path.join(folder, f'.part-{os.getpid()}-{name}')
    try:
        yield part
        os.replace(part, path)
    except (FFmpegError, ValueError) as error:
        raise MediaError('or write', path, error) from error
    finally:
        if os.path.exists(part):
            os.remove(part)


def encode(
    source: str,
    target: str,
    encoding: Encoding,
    span: Span = (None, None),
    audio: str | None = None,
    paint: Paint = _as_it_is,
) -> None:
    """Decode and encode again, exact to the frame.

    Times are kept, variable rates too, and pictures stand upright.  A whole
    file keeps its sound packets as they are, or as AAC where the target's
    container does not take them; the sound of a span is cut to the sample,
    mono, AAC.

    Args:
        source: The video.
        target: File to write (mp4, mkv).
        encoding: How to encode the pictures.
        span: First and last second; the target's clock starts at the first.
        audio: A sound file of its own for the span; None: the video.
        paint: Changes a picture, given its second on the source's clock.

    Raises:
        MediaError: If a file cannot be read or written; names it.
    """
    whole = span == (None, None) and audio is None
    with finished_or_nothing(target) as part:
        with av.open(source) as reader, av.open(part, 'w') as writer:
            stream = video_stream(reader)
            video = writer.add_stream('libx264')
            if whole:
                twin, fill = add_sound(reader, writer)
            else:
                sound = read_sound(audio or source, *span)
                mono = sound and _add_mono(writer, sound.sample_rate)
            pictures = _pictures(reader, stream, encoding, span, paint)
            _encode_pictures(pictures, stream, writer, video, encoding)
            if whole:
                fill(source, writer, twin)
            elif sound:
                late = sound.start - (span[0] or 0.0)
                _encode_sound(writer, mono, sound.waveform, late)


def extract_sound(
    source: str,
    target: str,
    sample_rate: int | None = None,
    span: Span = (None, None),
) -> None:
    """Write the sound as a mono wav or flac file.

    Its first sample is the zero of the video's clock (or the start of the
    span), so both files stay together.

    Args:
        source: Any file with sound.
        target: File to write.
        sample_rate: Samples a second; None keeps the file's.
        span: First and last second.

    Raises:
        MediaError: If a file cannot be read or written; names it.
        NoSoundError: If there is no sound.
    """
    sound = read_sound(source, *span)
    if sound is None:
        raise NoSoundError(
            f"'{source}' has no sound: take it out of the list.", 'no sound'
        )
    late = round((sound.start - (span[0] or 0.0)) * sound.sample_rate)
    waveform = sound.waveform[max(-late, 0) :]
    waveform = np.pad(waveform, (max(late, 0), 0))
    rate = sample_rate or sound.sample_rate
    if rate != sound.sample_rate:
        waveform = resample(
            torch.from_numpy(waveform), sound.sample_rate, rate
        ).numpy()
    codec = 'flac' if target.endswith('.flac') else 'pcm_s16le'
    with finished_or_nothing(target) as part, av.open(part, 'w') as writer:
        stream = writer.add_stream(codec, rate=rate, layout='mono')
        _encode_sound(writer, stream, waveform, 0.0)


def _pictures(
    reader, stream, encoding: Encoding, span: Span, paint: Paint
) -> Iterator[av.VideoFrame]:
    """The frames of a span: turned, resized, painted, in their time."""
    start, end = span[0] or 0.0, span[1]
    base = stream.time_base
    if span[0] is not None:
        reader.seek(max(int(start / base), 0), stream=stream)
    for frame in reader.decode(stream):
        if frame.time < start - SLACK:
            continue
        if end is not None and frame.time >= end - SLACK:
            break
        picture = _resized(frame, encoding.short_side)
        picture = paint(picture, frame.time)
        picture.pts = frame.pts - round(start / base)
        picture.time_base = base
        yield picture


def _encode_pictures(
    pictures: Iterator[av.VideoFrame], stream, writer, video, encoding
) -> None:
    """Encode frames; the first one says how large they are."""
    video.options = {'crf': str(encoding.crf), 'preset': encoding.preset}
    video.codec_context.gop_size = encoding.key_every
    video.codec_context.time_base = stream.time_base
    video.pix_fmt = 'yuv420p'
    sized = False
    for picture in pictures:
        if not sized:
            video.width, video.height = picture.width, picture.height
            sized = True
        writer.mux(video.encode(picture))
    if not sized:
        raise ValueError('no frame in the span')
    writer.mux(video.encode())


def _resized(frame: av.VideoFrame, short_side: int | None) -> av.VideoFrame:
    """An upright frame with even sides and the wanted short one."""
    turns = round(frame.rotation / 90) % 4
    if turns:
        pixels = np.rot90(frame.to_ndarray(format='rgb24'), turns)
        frame = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(pixels), format='rgb24'
        )
    sides = frame.width, frame.height
    scale = Fraction(min(short_side or min(sides), min(sides)), min(sides))
    # H.264 with 4:2:0 colour needs even sides.
    width, height = (max(round(side * scale / 2), 1) * 2 for side in sides)
    return frame.reformat(width, height, 'yuv420p')


def _add_mono(writer, rate: int):
    stream = writer.add_stream('aac', rate=rate, layout='mono')
    stream.bit_rate = _SOUND_BITS
    return stream


def _encode_sound(writer, stream, waveform: np.ndarray, start: float) -> None:
    """Encode a mono track that starts at a second."""
    for piece in sound_pieces(waveform, stream.rate, start):
        writer.mux(stream.encode(piece))
    writer.mux(stream.encode())
