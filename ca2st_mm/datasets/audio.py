# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The audio of a file, mono, on the container's clock.

Everything is in seconds on that clock, so an audio stream that starts late
keeps its place.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import av
import numpy as np
import soxr
from av.container import InputContainer

from .containers import (
    choose_stream,
    decode,
    decoder_errors,
    is_restart,
    open_container,
    start_of,
    stores_times,
)
from .faults import MediaError, warn

# Limits on what a header or a damaged time stamp can ask for.
MIN_RATE, MAX_RATE = 4000, 384_000  # samples per second
MAX_SAMPLES = 1 << 27  # of a track: 46 minutes at 48 kHz, 512 MiB
MAX_GAP = 600.0  # seconds without audio inside a track

# Containers with millisecond time stamps (mkv) jitter by less than this;
# anything larger is a hole in the track.
_JITTER = 0.05
# A decoder that starts in mid-stream needs some packets to settle.
_PREROLL = 0.5
# Each sample of these is made of all before it, and FFmpeg loses count of
# those in wav.
_FROM_START = ('adpcm', 'g722', 'g726')


class Audio(NamedTuple):
    """A mono track.

    Attributes:
        waveform: float32 in [-1, 1], (num_samples,).
        sample_rate: Samples per second.
        start: Time of the first sample, seconds on the container's clock.

    >>> crop_audio(Audio(np.zeros(16000, np.float32), 16000, 0.0), 0.5).start
    0.5
    """

    waveform: np.ndarray
    sample_rate: int
    start: float

    @property
    def end(self) -> float:
        """Time after the last sample."""
        return self.start + len(self.waveform) / self.sample_rate


def read_audio(
    path: str,
    start: float | None = None,
    end: float | None = None,
) -> Audio | None:
    """Read the audio of a file as mono, at the file's own rate.

    Several channels are mixed as FFmpeg does.  A damaged packet becomes
    silence of its length, as in a player; a gap of more than ``MAX_GAP``
    seconds ends the track, with a warning.

    Args:
        path: Any file FFmpeg knows.
        start: First second wanted; None for the beginning.
        end: Last second wanted; None for the end of the track.

    Returns:
        None if no stream can be decoded, or no sample is in the span.

    Raises:
        MediaError: If the file cannot be read, or exceeds a limit.
    """
    with (
        decoder_errors('the audio of', path),
        open_container(path) as container,
    ):
        stream = choose_stream(container, 'audio')
        if stream is None:
            return None
        pieces = _decode_audio(path, container, stream, start, end)
        return crop_audio(join_pieces(path, pieces), start, end)


def crop_audio(
    audio: Audio | None, start: float | None = None, end: float | None = None
) -> Audio | None:
    """A span of a track, to the sample.

    Args:
        audio: The track.
        start: First second wanted; None for its beginning.
        end: Last second wanted; None for its end.

    Returns:
        None if no sample is in the span.
    """
    if audio is None:
        return None
    waveform, rate, first = audio
    low = 0 if start is None else max(round((start - first) * rate), 0)
    high = len(waveform) if end is None else round((end - first) * rate)
    waveform = waveform[low : max(high, 0)]
    if not len(waveform):
        return None
    return Audio(waveform, rate, first + low / rate)


def resample_audio(audio: Audio, sample_rate: int | None) -> Audio:
    """A track at another rate, in samples per second; None keeps it.

    >>> track = Audio(np.zeros(44100, np.float32), 44100, 0.0)
    >>> len(resample_audio(track, 16000).waveform)
    16000
    """
    waveform, rate, start = audio
    if sample_rate is None or rate == sample_rate:
        return audio
    waveform = soxr.resample(waveform, rate, sample_rate)
    return Audio(waveform, sample_rate, start)


def _decode_audio(
    path: str,
    container: InputContainer,
    stream: Any,
    start: float | None,
    end: float | None,
) -> Iterator[tuple[Audio, bool]]:
    """Decoded pieces in order until ``end``, and if one was lost before."""
    name = stream.codec_context.name
    if (
        start is not None
        and not name.startswith(_FROM_START)
        and stores_times(container)
    ):
        target = start - _PREROLL
        if target > start_of(container):
            with suppress(av.FFmpegError):  # no index: read from the start
                container.seek(round(target / stream.time_base), stream=stream)
    resamplers: dict[tuple, av.AudioResampler] = {}
    now, was_lost = None, False
    shift = 0.0  # seconds added since the clock started again
    for packet, frames in decode(container, stream):
        # Decoders that give a frame with the next packet have no frame here
        # either, but their times leave no hole.
        was_lost = was_lost or (packet.size > 0 and not frames)
        for frame in frames:
            rate = frame.sample_rate
            if not MIN_RATE <= rate <= MAX_RATE:
                raise _beyond(path, f'{rate} samples a second')
            time = now or 0.0
            if frame.time is not None:
                time = frame.time + shift
            if now is not None and is_restart(time, now):
                shift, time = shift + now - time, now
            if end is not None and time > end:
                return
            piece = mix_down(frame, resamplers)
            now = time + len(piece) / rate
            if start is None or now > start:
                yield Audio(piece, rate, time), was_lost
            was_lost = False


def mix_down(
    frame: av.AudioFrame, resamplers: dict[tuple, av.AudioResampler]
) -> np.ndarray:
    """The mix of a frame by FFmpeg's rule, float32 (num_samples,).

    Args:
        frame: In any format, with any channels.
        resamplers: Those made before, by what they take.
    """
    kind, layout = frame.format.name, frame.layout
    if layout.nb_channels == 1 and kind in ('flt', 'fltp'):
        return np.frombuffer(frame.planes[0], np.float32, frame.samples)
    key = kind, layout.name, frame.sample_rate
    if key not in resamplers:
        # To whole numbers, because there FFmpeg scales the mix to fit.
        resamplers[key] = av.AudioResampler('s32', 'mono')
    mixed = [np.zeros(0, np.int32)]
    for part in resamplers[key].resample(frame):
        mixed.append(np.frombuffer(part.planes[0], np.int32, part.samples))
    return np.concatenate(mixed).astype(np.float32) / np.float32(1 << 31)


def join_pieces(
    path: str, pieces: Iterable[tuple[Audio, bool]]
) -> Audio | None:
    """Join pieces by their times; holes in the track become zeros.

    Args:
        path: The file, for messages.
        pieces: In order, each with whether something was lost before it.
    """
    first, parts, filled, rate, damaged = 0.0, [], 0, 0, 0
    for piece, was_lost in pieces:
        if not parts:
            first, rate = piece.start, piece.sample_rate
        piece = resample_audio(piece, rate)
        hole = piece.start - first - filled / rate
        if hole > MAX_GAP:
            warn(
                f"The audio of '{path}' ends at {first + filled / rate:.2f} "
                f's: nothing follows for {hole:.0f} s.'
            )
            break
        if hole > (0 if was_lost else _JITTER):
            parts.append(np.zeros(round(hole * rate), np.float32))
            filled += len(parts[-1])
            damaged += was_lost
        parts.append(piece.waveform)
        filled += len(piece.waveform)
        if filled > MAX_SAMPLES:
            raise _beyond(path, f'more than {MAX_SAMPLES / rate / 60:.0f} min')
    if damaged:
        warn(f"{damaged} damaged parts of the audio of '{path}' are silent.")
    if not filled:
        return None
    return Audio(np.concatenate(parts), rate, first)


def _beyond(path: str, what: str) -> MediaError:
    return MediaError(
        'the audio of',
        path,
        f'{what} is beyond the limits',
        'Cut it (clip_start and clip_end, or ca2st data trim-clips), or '
        'leave it out.',
    )
