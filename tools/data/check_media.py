# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Looking into the media of samples, with several workers, resumably."""

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import cv2
import numpy as np
from check_lists import Sample

from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.containers import probe
from ca2st_mm.datasets.faults import MediaError, SampleFault
from ca2st_mm.datasets.video import PyAVReader

# -60 dB of full scale: quieter than any recording.
_SILENCE = 1e-3
_THUMBNAIL_WIDTH = 128
_PRINT_BYTES = 1 << 16
# Edit lists hide a few frames of those in the header.
_MOST = 0.9


class Limits(NamedTuple):
    """What is tolerated.

    Without ``decode`` only headers and packets are read: damaged frames and
    silence are not seen, and lengths of audio are those that headers announce.
    """

    min_seconds: float = 0.5
    # How far the starts, and the ends, of video and audio may lie apart, and a
    # span after the end of its file.
    sync_seconds: float = 0.5
    decode: bool = True


@dataclass
class Probe:
    """What was found; None is unknown, or not there."""

    faults: list = field(default_factory=list)  # of [kind, detail]
    seconds: float | None = None  # of the video, as are the next three
    frames: int | None = None
    width: int | None = None
    height: int | None = None
    sample_rate: int | None = None  # of the audio that is read, Hz
    peak: float | None = None  # largest absolute sample, if it is decoded
    print: str = ''  # of the file's size, head and tail
    thumbnail: str = ''  # JPEG in base64, if it is decoded
    # Which streams are read, if there are several of a kind.
    streams: list[str] = field(default_factory=list)


def probe_all(
    samples: Sequence[Sample], limits: Limits, num_workers: int, notes: str
) -> Iterator[tuple[int, Probe]]:
    """Probe samples in any order; yields the number of each, and the findings.

    What was found is noted at once (``notes``, JSON lines), and taken from
    there when a file has not changed since.  Samples with the same files and
    span are probed once.
    """
    waiting: dict[str, list[int]] = {}
    for number, sample in enumerate(samples):
        waiting.setdefault(_key(sample, limits), []).append(number)
    for key, found in _read_notes(notes):
        for number in waiting.pop(key, ()):
            yield number, found

    def look(key: str) -> tuple[str, Probe]:
        return key, probe_sample(samples[waiting[key][0]], limits)

    # Threads: FFmpeg, numpy and OpenCV work outside of Python's lock.
    with (
        open(notes, 'a', encoding='utf-8') as file,
        ThreadPool(num_workers) as pool,
    ):
        file.write('\n')  # ends a line that a crash has cut off
        for key, found in pool.imap_unordered(look, waiting):
            file.write(json.dumps([key, vars(found)]) + '\n')
            file.flush()
            for number in waiting[key]:
                yield number, found


def _key(sample: Sample, limits: Limits) -> str:
    """A name for the files as they are now, the span and the limits."""
    facts = [sample.path, sample.audio, sample.start, sample.end, *limits]
    for path in filter(None, (sample.path, sample.audio)):
        if os.path.isfile(path):
            stat = os.stat(path)
            facts += [stat.st_size, stat.st_mtime_ns]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _read_notes(notes: str) -> Iterator[tuple[str, Probe]]:
    """What earlier runs found; lines that are no notes are left out."""
    if not os.path.exists(notes):
        return
    with open(notes, encoding='utf-8') as file:
        for line in file:
            try:
                key, fields = json.loads(line)
                yield key, Probe(**fields)
            except (ValueError, TypeError):  # cut off, or of other fields
                continue


def probe_sample(sample: Sample, limits: Limits) -> Probe:
    """Check the files of a sample.

    Reads headers and packets, and with ``limits.decode`` the first, the
    middle and the last frame and the audio of the clip.
    """
    for path in filter(None, (sample.path, sample.audio)):
        if not os.path.isfile(path):
            return Probe([['missing', f"'{path}' does not exist"]])
    found = Probe(print=fingerprint(sample.path))
    try:
        span = _probe_video(sample, limits, found)
        _probe_audio(sample, limits, found, span)
    except SampleFault as error:
        found.faults.append(['unreadable', error.reason])
    return found


def _probe_video(
    sample: Sample, limits: Limits, found: Probe
) -> tuple[float, float]:
    """Look at the frames of the clip; returns when they are shown."""
    span = sample.start, sample.end
    with PyAVReader(sample.path, span=span) as reader:
        low, high = reader.frames_in(span)
        header = probe(sample.path)
        announced = header.video.frames
        if span == (None, None) and high < _MOST * announced:
            why = f'the header announces {announced} frames, {high} are there'
            raise MediaError('video', sample.path, why)
        shown = reader.frame_times[low:high]
        start, end = float(shown[0]), float(shown[-1] + 1 / reader.avg_fps)
        found.seconds, found.frames = round(end - start, 4), high - low
        found.width, found.height = header.video.width, header.video.height
        found.streams = list(header.choices('video'))
        if limits.decode:
            wanted = [low, (low + high - 1) // 2, high - 1]
            _, middle, _ = reader.read(wanted)
            found.height, found.width = middle.shape[:2]
            found.thumbnail = _thumbnail(middle)
    if found.seconds < limits.min_seconds:
        detail = f'{found.seconds:.2f} s, less than {limits.min_seconds} s'
        found.faults.append(['too_short', detail])
    if sample.end is not None and sample.end - end > limits.sync_seconds:
        detail = f'up to {sample.end} s of a video of {end:.2f} s'
        found.faults.append(['past_end', detail])
    return start, end


def _probe_audio(
    sample: Sample, limits: Limits, found: Probe, span: tuple[float, float]
) -> None:
    """Look at the audio of the clip, and compare it with the video."""
    path = sample.audio or sample.path
    header = probe(path)
    if header.audio is None:
        why = 'no audio stream'
        if header.audios:
            why = 'FFmpeg has no decoder for the codec of its audio'
        found.faults.append(['no_audio', why])
        return
    found.sample_rate = header.audio.sample_rate
    found.streams += header.choices('audio')
    if not limits.decode:
        # A file of its own starts with the video; others are in one header.
        short = sample.audio and header.seconds is not None
        if short and span[1] - header.seconds > limits.sync_seconds:
            detail = f'{header.seconds:.2f} s of audio, {span[1]:.2f} s needed'
            found.faults.append(['out_of_sync', detail])
        return
    audio = read_audio(path, sample.start, sample.end)
    if audio is None:
        found.faults.append(['no_audio', 'no audio in the clip'])
        return
    peak = float(np.abs(audio.waveform).max())
    found.peak = round(peak, 5)
    if peak < _SILENCE:
        found.faults.append(['silent', f'peak {peak:.1e} of full scale'])
    last = audio.start + len(audio.waveform) / audio.sample_rate
    starts, ends = abs(audio.start - span[0]), abs(last - span[1])
    if max(starts, ends) > limits.sync_seconds:
        detail = f'starts {starts:.2f} s apart, ends {ends:.2f} s apart'
        found.faults.append(['out_of_sync', detail])


def _thumbnail(pixels: np.ndarray) -> str:
    """A small JPEG."""
    height, width = pixels.shape[:2]
    size = _THUMBNAIL_WIDTH, max(_THUMBNAIL_WIDTH * height // width, 1)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode('.jpg', small[..., ::-1])
    return base64.b64encode(data.tobytes()).decode()


def fingerprint(path: str) -> str:
    """Hash of size, head and tail; equal for copies, empty without content."""
    size = os.path.getsize(path)
    if not size:
        return ''
    digest = hashlib.sha256(str(size).encode())
    with open(path, 'rb') as file:
        digest.update(file.read(_PRINT_BYTES))
        file.seek(max(size - _PRINT_BYTES, 0))
        digest.update(file.read(_PRINT_BYTES))
    return digest.hexdigest()[:32]
