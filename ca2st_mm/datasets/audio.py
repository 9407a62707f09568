# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The audio of a file, mono, on the container's clock.

Everything is in seconds on that clock, so an audio stream that starts late
keeps its place.
"""

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import av
import numpy as np
import soxr
from mmengine.logging import print_log

from .containers import (
    choose_stream,
    decode,
    decoder_errors,
    open_container,
    start_of,
    stores_times,
)
from .faults import MediaError

# Limits on what a header or a damaged time stamp can ask for.
MIN_RATE, MAX_RATE = 4000, 384_000  # samples per second
MAX_SAMPLES = 1 << 27  # of a track: 46 minutes at 48 kHz, 512 MiB
MAX_GAP = 600.0  # seconds without audio inside a track

# Containers with millisecond time stamps (mkv) jitter by less than this;
# anything larger is a hole in the track.
_JITTER = 0.05
# A decoder that starts in mid-stream needs some packets to settle.
_PREROLL = 0.5
# Shares of the channels in FFmpeg's mono mix: the centre is kept, the front
# comes 3 dB below it, the sides and the back 6 dB; others are left out.
_SHARES = dict(
    FC=1.0,
    **dict.fromkeys(('FL', 'FR', 'FLC', 'FRC', 'TFL', 'TFR'), 0.5**0.5),
    **dict.fromkeys(('SL', 'SR', 'BL', 'BR', 'BC'), 0.5),
)


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
        return crop_audio(_join(path, pieces), start, end)


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
    """A track at another rate.

    Args:
        audio: The track.
        sample_rate: Samples per second; None keeps the rate.

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
    container: 'av.container.InputContainer',
    stream: Any,
    start: float | None,
    end: float | None,
) -> Iterator[Audio]:
    """Yield decoded pieces in order until ``end``; damaged ones as zeros."""
    if start is not None and stores_times(container):
        target = start - _PREROLL
        if target > start_of(container):
            container.seek(round(target / stream.time_base), stream=stream)
    mixer = _Mixer()
    now, damaged, is_hole = None, 0, False
    for packet, frames in decode(container, stream):
        # Decoders that give a frame with the next packet have no frame here
        # either, but their times leave no hole.
        is_hole = is_hole or (packet.size > 0 and not frames)
        for frame in frames:
            rate = frame.sample_rate
            if not MIN_RATE <= rate <= MAX_RATE:
                raise _beyond(path, f'{rate} samples a second')
            time = frame.time if frame.time is not None else now or 0.0
            if end is not None and time > end:
                break
            if is_hole and now is not None and 0 < time - now < _JITTER:
                damaged += 1
                silence = np.zeros(round((time - now) * rate), np.float32)
                yield Audio(silence, rate, now)
            is_hole = False
            piece = mixer.mono(frame)
            now = time + len(piece) / rate
            if start is None or now > start:
                yield Audio(piece, rate, time)
        else:
            continue
        break
    if damaged:
        print_log(
            f"{damaged} damaged packets in the audio of '{path}' are silent.",
            logger='current',
            level=logging.WARNING,
        )


class _Mixer:
    """Frames of any format and number of channels to mono float32."""

    def __init__(self) -> None:
        self._packed: Any = None

    def mono(self, frame: av.AudioFrame) -> np.ndarray:
        """The mix of a frame, (num_samples,)."""
        channels = frame.layout.nb_channels
        # PyAV's to_ndarray takes longer than decoding.
        if frame.format.name == 'fltp' and channels == 1:
            return np.frombuffer(frame.planes[0], np.float32, frame.samples)
        if frame.format.name == 'fltp' and channels == 2:
            left, right = (
                np.frombuffer(plane, np.float32, frame.samples)
                for plane in frame.planes
            )
            return np.mean([left, right], axis=0)
        # One plane: of eight channels and more PyAV lists planes that are
        # not there, and reading them ends the process.
        if self._packed is None:
            self._packed = av.AudioResampler(format='flt')
        pieces = [
            np.frombuffer(f.planes[0], np.float32, f.samples * channels)
            for f in self._packed.resample(frame)
        ]
        samples = np.concatenate(pieces).reshape(-1, channels)
        if channels <= 2:
            return samples.mean(axis=1)
        names = [channel.name for channel in frame.layout.channels]
        shares = np.ones(channels, np.float32)
        if 'FL' in names or 'FC' in names:
            shares[:] = [_SHARES.get(name, 0.0) for name in names]
        return samples @ (shares / shares.sum())


def _join(path: str, pieces: Iterator[Audio]) -> Audio | None:
    """Join pieces by their time stamps; holes in the track become zeros."""
    first, parts, filled, rate = 0.0, [], 0, 0
    for piece in pieces:
        if not parts:
            first, rate = piece.start, piece.sample_rate
        if piece.sample_rate != rate:
            piece = resample_audio(piece, rate)
        hole = piece.start - first - filled / rate
        if hole > MAX_GAP:
            print_log(
                f"The audio of '{path}' ends at {first + filled / rate:.2f} "
                f's: nothing follows for {hole:.0f} s.',
                logger='current',
                level=logging.WARNING,
            )
            break
        if hole > _JITTER:
            parts.append(np.zeros(round(hole * rate), np.float32))
            filled += len(parts[-1])
        parts.append(piece.waveform)
        filled += len(piece.waveform)
        if filled > MAX_SAMPLES:
            raise _beyond(path, f'more than {MAX_SAMPLES / rate / 60:.0f} min')
    if not filled:
        return None
    return Audio(np.concatenate(parts), rate, first)


def _beyond(path: str, what: str) -> MediaError:
    return MediaError(
        'the audio of',
        path,
        f'{what} is beyond the limits',
        'Cut it (clip_start and clip_end, or tools/data/trim_clips.py), or '
        'take its line out of the annotation file.',
    )
