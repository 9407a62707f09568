# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Looking into the media of one sample."""

import base64
import hashlib
import os
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.error import FFmpegError

from ..audio import Audio, read_audio
from ..faults import MediaError
from ..video import PyAVReader, frames_in_span
from .samples import Fault, Sample

# -60 dB of full scale: quieter than any recording.
_SILENCE = 1e-3
_THUMBNAIL_WIDTH = 128
_PRINT_BYTES = 1 << 16


class Limits(NamedTuple):
    """What is tolerated.

    Attributes:
        min_seconds: The shortest clip.
        sync_seconds: How far the starts, and the ends, of picture and sound
            may lie apart.
        decode: Whether to decode; without it only headers and packets are
            read, so damaged frames, silence and sync are not seen.
    """

    min_seconds: float = 0.5
    sync_seconds: float = 0.5
    decode: bool = True


class Probe(NamedTuple):
    """What was found.

    Attributes:
        faults: Lists of [kind, detail].
        seconds: Length of the picture; None if unknown.
        frames: Number of frames; None if unknown.
        width: Of the picture; None without decoding.
        height: Of the picture; None without decoding.
        peak: Largest absolute sample of the sound; None without sound or
            decoding.
        print: Fingerprint of the file's size, head and tail; empty if it is
            missing.
        thumbnail: JPEG in base64; empty without decoding.
    """

    faults: list
    seconds: float | None = None
    frames: int | None = None
    width: int | None = None
    height: int | None = None
    peak: float | None = None
    print: str = ''
    thumbnail: str = ''

    def of(self, sample: Sample) -> list[Fault]:
        """The faults with the name of the sample."""
        return [
            Fault(kind, sample.split, sample.path, detail)
            for kind, detail in self.faults
        ]


def probe_sample(sample: Sample, limits: Limits) -> Probe:
    """Check the files of a sample.

    Reads the first, the middle and the last frame, and the sound of the
    clip.

    Args:
        sample: The row.
        limits: What is tolerated.
    """
    for path in filter(None, (sample.path, sample.audio)):
        if not os.path.isfile(path):
            return Probe([('missing', f"'{path}' does not exist")])
    found = Probe([], print=fingerprint(sample.path))
    try:
        found, span = _look(sample, limits, found)
    except MediaError as error:
        found.faults.append(('unreadable', error.reason))
        return found
    if found.seconds is not None and found.seconds < limits.min_seconds:
        detail = f'{found.seconds:.2f} s, less than {limits.min_seconds} s'
        found.faults.append(('too_short', detail))
    try:
        return _listen(sample, limits, found, span)
    except MediaError as error:
        found.faults.append(('unreadable', error.reason))
        return found


def _look(
    sample: Sample, limits: Limits, found: Probe
) -> tuple[Probe, tuple[float, float]]:
    """Frames of the clip, and the span in which they are shown."""
    span = sample.start, sample.end
    with PyAVReader(sample.path, span=span) as reader:
        low, high = frames_in_span(reader.frame_stamps, span)
        if high <= low:
            raise MediaError('video', sample.path, 'no frame in the clip')
        shown = reader.frame_stamps[low:high]
        start, end = shown[0], shown[-1] + 1 / reader.avg_fps
        found = found._replace(
            seconds=round(float(end - start), 4), frames=high - low
        )
        if limits.decode:
            wanted = [low, (low + high - 1) // 2, high - 1]
            _, middle, _ = reader.read(wanted)
            height, width = middle.shape[:2]
            found = found._replace(
                width=width, height=height, thumbnail=_thumbnail(middle)
            )
    return found, (float(start), float(end))


def _listen(
    sample: Sample,
    limits: Limits,
    found: Probe,
    span: tuple[float, float],
) -> Probe:
    """Sound of the clip, compared with the pictures."""
    path = sample.audio or sample.path
    if not limits.decode:
        if not _has_track(path):
            found.faults.append(('no_sound', 'no sound track'))
        return found
    sound = read_audio(path, sample.start, sample.end)
    if sound is None:
        found.faults.append(('no_sound', 'no sound in the clip'))
        return found
    peak = float(np.abs(sound.waveform).max())
    if peak < _SILENCE:
        found.faults.append(('silent', f'peak {peak:.1e} of full scale'))
    apart = _apart(sound, span)
    if max(apart) > limits.sync_seconds:
        detail = f'starts {apart[0]:.2f} s apart, ends {apart[1]:.2f} s apart'
        found.faults.append(('out_of_sync', detail))
    return found._replace(peak=round(peak, 5))


def _apart(sound: Audio, span: tuple[float, float]) -> tuple[float, float]:
    """Seconds between the starts and between the ends."""
    end = sound.start + len(sound.waveform) / sound.sample_rate
    return abs(sound.start - span[0]), abs(end - span[1])


def _has_track(path: str) -> bool:
    """Whether the header names a sound track."""
    try:
        with av.open(path) as container:
            return bool(container.streams.audio)
    except (FFmpegError, OSError) as error:
        raise MediaError('the sound of', path, error) from error


def _thumbnail(pixels: np.ndarray) -> str:
    """A small JPEG."""
    height, width = pixels.shape[:2]
    size = _THUMBNAIL_WIDTH, max(_THUMBNAIL_WIDTH * height // width, 1)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode('.jpg', small[..., ::-1])
    return base64.b64encode(data.tobytes()).decode()


def fingerprint(path: str) -> str:
    """Hash of size, head and tail: equal for copies, cheap for long files.

    Args:
        path: The file.
    """
    digest = hashlib.sha256(str(os.path.getsize(path)).encode())
    with open(path, 'rb') as file:
        digest.update(file.read(_PRINT_BYTES))
        file.seek(max(os.path.getsize(path) - _PRINT_BYTES, 0))
        digest.update(file.read(_PRINT_BYTES))
    return digest.hexdigest()[:32]
