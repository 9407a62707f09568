# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the containers say: frame time stamps and sound on one clock.

Everything is in seconds on the container's clock, so a picture stream or a
sound track that starts late keeps its place.  PyAV reads; decord, which
decodes the pictures, forgets where a stream starts.
"""

import math
from typing import IO, Iterator, NamedTuple, Optional, Union

import av
import numpy as np
from av.error import FFmpegError

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


class MediaError(RuntimeError):
    """A media file cannot be read; the message names it and the cure."""

    def __init__(self, kind: str, path: str, why: object) -> None:
        reason = ' '.join(str(why).split()).rstrip('.')
        super().__init__(
            f"Cannot read {kind} '{path}': {reason}. Replace the file (or "
            'download it again), or take its line out of the annotation '
            'file.'
        )


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


def read_frame_stamps(
    source: Union[str, IO[bytes]], num_frames: int, fps: float
) -> np.ndarray:
    """Presentation time of every frame, read without decoding.

    Args:
        source: Path or binary file object.
        num_frames: Frames the decoder counts.
        fps: Average rate, used where the container has no usable stamps
            (their number differs from the number of frames).

    Returns:
        float64 seconds, (num_frames,), ascending.
    """
    with av.open(source) as container:
        stream = container.streams.video[0]
        base = float(stream.time_base)
        start = (stream.start_time or 0) * base
        stamps = sorted(
            packet.pts * base
            for packet in container.demux(stream)
            if packet.pts is not None
        )
    if len(stamps) != num_frames or not num_frames:
        return start + np.arange(num_frames) / fps
    stamps = np.asarray(stamps)
    # AVI stores no presentation times: FFmpeg's guess is late by the
    # decoder's delay, the stream's own start is right.
    return stamps - stamps[0] + start


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
    start: Optional[float] = None,
    end: Optional[float] = None,
) -> Optional[Sound]:
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
    start: Optional[float],
    end: Optional[float],
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
        for piece in to_float.resample(frame):
            samples = piece.to_ndarray().mean(axis=0, dtype=np.float32)
            yield Sound(samples, rate, time)


def _collect(
    chunks: Iterator[Sound], start: Optional[float], end: Optional[float]
) -> Optional[Sound]:
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
    waveform = np.concatenate(parts)
    low = 0 if start is None else max(round((start - first) * rate), 0)
    high = filled if end is None else round((end - first) * rate)
    waveform = waveform[low : max(high, 0)]
    if not len(waveform):
        return None
    return Sound(waveform, rate, first + low / rate)
