# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The sound of a container, on the container's clock.

Everything is in seconds on that clock, so a sound track that starts late
keeps its place.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import av
import numpy as np
from av.error import FFmpegError

from .faults import MediaError

# What counts as a media file in a folder, in lower case.
VIDEO_EXTENSIONS = (
    '.mp4',
    '.webm',
    '.mkv',
    '.avi',
    '.mov',
    '.m4v',
    '.mpg',
    '.mpeg',
)
AUDIO_EXTENSIONS = ('.wav', '.flac', '.ogg', '.mp3', '.m4a', '.aac', '.opus')

# Containers with millisecond time stamps (mkv) jitter by less than this;
# anything larger is a hole in the track.
_GAP_SECONDS = 0.05
# A decoder that starts in mid-stream needs some packets to settle.
_PREROLL_SECONDS = 0.5


class Sound(NamedTuple):
    """A mono track.

    Attributes:
        waveform: float32 in [-1, 1], (num_samples,).
        sample_rate: Samples per second.
        start: Time of the first sample, seconds on the container's clock.
    """

    waveform: np.ndarray
    sample_rate: int
    start: float


def has_sound(path: str) -> bool:
    """Whether a file has a sound track, read without decoding.

    Args:
        path: Any container FFmpeg knows.

    Raises:
        MediaError: If the file cannot be read.
    """
    try:
        with av.open(path) as container:
            return bool(container.streams.audio)
    except (FFmpegError, OSError) as error:
        raise MediaError('the streams of', path, error) from error


def read_sound(
    path: str,
    start: float | None = None,
    end: float | None = None,
) -> Sound | None:
    """Read the first sound track as mono, at the file's own rate.

    Args:
        path: Any container FFmpeg knows.
        start: First second wanted; None for the beginning.
        end: Last second wanted; None for the end of the track.

    Returns:
        The average of the channels, or None if there is no track or no
        sample in the wanted span.

    Raises:
        MediaError: If the file cannot be read.
        FileNotFoundError: If there is no such file.
    """
    try:
        with av.open(path) as container:
            if not container.streams.audio:
                return None
            return _collect(_chunks(container, start, end), start, end)
    except FileNotFoundError:
        raise
    except (FFmpegError, OSError) as error:
        raise MediaError('the sound of', path, error) from error


def _chunks(
    container: 'av.container.InputContainer',
    start: float | None,
    end: float | None,
) -> Iterator[Sound]:
    """Yield decoded pieces in order until ``end``."""
    stream = container.streams.audio[0]
    if start is not None and start > _PREROLL_SECONDS:
        target = start - _PREROLL_SECONDS
        container.seek(int(target / stream.time_base), stream=stream)
    to_float = av.AudioResampler(format='fltp')
    for frame in container.decode(stream):
        if end is not None and frame.time is not None and frame.time > end:
            return
        rate = frame.sample_rate
        time = frame.time if frame.time is not None else math.nan
        float_already = frame.format.name == 'fltp'
        for piece in [frame] if float_already else to_float.resample(frame):
            yield Sound(_mono(piece), rate, time)


def _mono(piece: av.AudioFrame) -> np.ndarray:
    """The average of the channels of a planar float frame."""
    # PyAV's to_ndarray does the same, and takes longer than decoding.
    planes = [
        np.frombuffer(plane, np.float32, piece.samples)
        for plane in piece.planes
    ]
    return planes[0] if len(planes) == 1 else np.mean(planes, axis=0)


def _collect(
    chunks: Iterator[Sound], start: float | None, end: float | None
) -> Sound | None:
    """Join pieces by their time stamps; holes in the track become zeros."""
    first, parts, filled, rate = 0.0, [], 0, 0
    for chunk in chunks:
        if not parts:
            rate = chunk.sample_rate
            first = 0.0 if math.isnan(chunk.start) else chunk.start
        hole = (chunk.start - first) * rate - filled
        if hole > _GAP_SECONDS * rate:
            parts.append(np.zeros(round(hole), np.float32))
            filled += round(hole)
        parts.append(chunk.waveform)
        filled += len(chunk.waveform)
    if not filled:
        return None
    return cut_sound(Sound(np.concatenate(parts), rate, first), start, end)


def cut_sound(
    sound: Sound, start: float | None, end: float | None
) -> Sound | None:
    """A span of a track, to the sample.

    Args:
        sound: The track.
        start: First second wanted; None for its beginning.
        end: Last second wanted; None for its end.

    Returns:
        None if no sample is in the span.
    """
    waveform, rate, first = sound
    low = 0 if start is None else max(round((start - first) * rate), 0)
    high = len(waveform) if end is None else round((end - first) * rate)
    waveform = waveform[low : max(high, 0)]
    if not len(waveform):
        return None
    return Sound(waveform, rate, first + low / rate)
