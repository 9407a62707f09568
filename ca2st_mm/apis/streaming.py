# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Predictions of streams: cameras, pipes, networks, files that grow.

A stream has the windows that :class:`.windows.Spans` gives a file of the same
content.  What is kept is one window, and what comes of one modality while the
other is waited for.
"""

import math
import os
import queue
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np

from ca2st_mm.datasets.audio import (
    MAX_GAP,
    Audio,
    join_pieces,
    mix_down,
)
from ca2st_mm.datasets.containers import (
    MAX_PIXELS,
    choose_stream,
    decode,
    decoder_errors,
    is_restart,
    missing_stream,
    open_container,
)
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.datasets.pixels import stack_frames
from ca2st_mm.datasets.transforms import LoadAudio, OpenVideo
from ca2st_mm.datasets.video import SLACK, VideoReader

from .prediction import Failure, Prediction
from .windows import Job, Spans

WEBCAM, DEVICE = 'webcam:', '/dev/video'
CAMERAS = WEBCAM, DEVICE
WINDOW = 2.0  # seconds, where no length is given
# Seconds that one modality is waited for: a fragment of mp4 brings ten seconds
# of video, with FFmpeg's usual settings, before their audio.
PATIENCE = 12.0
# Seconds without news after which a file or a connection has ended.
IDLE = 10.0
MAX_KEPT = 2 << 30  # bytes of decoded frames
_AHEAD = 2  # windows that wait for the model
# No playlist of a server leads to a file here.
_PROTOCOLS = 'crypto,data,hls,http,https,rtmp,rtmps,rtp,rtsp,srt,tcp,tls,udp'


def is_live(source: Any) -> bool:
    """Whether a source does not wait: a camera, or ``rtsp://...`` and such."""
    name = '' if hasattr(source, 'read') else str(source)
    waits = name.startswith(('http://', 'https://'))
    return name.startswith(CAMERAS) or '://' in name and not waits


def predict_stream(
    recognizer: Any,
    source: Any,
    window: float = WINDOW,
    stride: float | None = None,
    top_k: int = 5,
    missing_audio: str | None = None,
    modalities: bool = False,
    idle: float = IDLE,
    patience: float = PATIENCE,
) -> Iterator[Prediction | Failure]:
    """Predict the windows of a stream, each when its last frame has come.

    The stream is read in a thread while the model answers.  If the model is
    too slow, a pipe or a file waits; of a live source windows are skipped.
    It is a method of :class:`Recognizer`: ``recognizer.stream(source)``.

    Args:
        recognizer: The model.
        source: A camera (``webcam:0``), a pipe (its path, ``-`` for standard
            input, or an object to ``read`` from), a URL of FFmpeg
            (``rtsp://...``), or a file, which may grow.
        window: Seconds of a window.
        stride: Seconds from the start of one to that of the next; None for
            those of a window.
        top_k: How many classes to give.
        missing_audio: See :meth:`Recognizer.prepare`.
        modalities: Whether parts of the model are to answer alone, too.
        idle: Seconds without news after which a file that grows is at its
            end, and a connection is given up.
        patience: Seconds of one modality that may come before the other is
            taken to be silent.  It may come back.

    Yields:
        Predictions with their ``latency``; a failure for a window without a
        frame, and for windows that were skipped.

    Raises:
        MediaError: If the source cannot be read, or breaks off.
        ValueError: If a length is not positive.

    Example:
        >>> for prediction in recognizer.stream('clip.mp4', window=1.0):
        ...     print(prediction.start, prediction.best[0])
        0.0 ('...', ...)
    """
    transforms = recognizer.pipeline.transforms
    stopped = threading.Event()
    windows = stream_windows(
        source,
        window,
        window if stride is None else stride,
        video=any(isinstance(t, OpenVideo) for t in transforms),
        audio=any(isinstance(t, LoadAudio) for t in transforms),
        idle=idle,
        patience=patience,
        stopped=stopped.is_set,
    )
    for arrived, job in _read_ahead(windows, stopped, is_live(source)):
        [answer] = recognizer.predict_each(
            [job], top_k, 1, missing_audio, modalities
        )
        if isinstance(answer, Prediction):
            latency = time.monotonic() - arrived
            answer = replace(answer, latency=latency)
        yield answer


def _read_ahead(
    windows: Iterator[Job | Failure], stopped: threading.Event, live: bool
) -> Iterator[tuple[float, Job | Failure]]:
    """Windows with the second at which each was there, read in a thread."""
    waiting: queue.Queue = queue.Queue(_AHEAD)

    def put(item: Any) -> None:
        while not stopped.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def read() -> None:
        skipped: list[Job | Failure] = []
        try:
            for job in windows:
                if skipped and not waiting.full():
                    put((time.monotonic(), _skipped(skipped)))
                    skipped = []
                if live and waiting.full():
                    skipped = [*skipped[:1], job]
                else:
                    put((time.monotonic(), job))
            if skipped:
                put((time.monotonic(), _skipped(skipped)))
            put(None)
        except Exception as error:  # raised again where answers are read
            put(error)

    # It may be held up by a source that says nothing: it ends with the rest.
    thread = threading.Thread(target=read, daemon=True, name='stream')
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join(timeout=1.0)


def _skipped(jobs: Sequence[Job | Failure]) -> Failure:
    first, last = (
        job.shown if isinstance(job, Job) else vars(job)
        for job in (jobs[0], jobs[-1])
    )
    return Failure(
        first['source'],
        first['start'],
        last['end'],
        'skipped, because answers come slower than windows; take a longer '
        'stride or a faster device',
    )


def stream_windows(
    source: Any,
    window: float,
    stride: float,
    video: bool = True,
    audio: bool = True,
    idle: float = IDLE,
    patience: float = PATIENCE,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Job | Failure]:
    """The windows of a stream, each when all of it is there.

    Args:
        source: See :func:`predict_stream`.
        window: Seconds of a window.
        stride: Seconds from the start of one to that of the next.
        video: Whether a window without a frame is a failure.
        audio: Whether audio is read.
        idle: See :func:`predict_stream`.
        patience: See :func:`predict_stream`.
        stopped: Whether to stop reading.
    """
    Spans(0.0, window, stride)  # refuses wrong lengths before it opens
    name = _name_of(source)
    with (
        decoder_errors('stream', name),
        _opened(source, name, idle, stopped) as container,
    ):
        streams = {'video': choose_stream(container, 'video')}
        if audio:
            streams['audio'] = choose_stream(container, 'audio')
        streams = {k: stream for k, stream in streams.items() if stream}
        if video and 'video' not in streams or not streams:
            kind = 'video' if video else 'audio'
            raise missing_stream(container, kind, name)
        cutter = _Cutter(name, streams, (window, stride), patience, video)
        came = False
        try:
            for packet, frames in decode(container, list(streams.values())):
                if stopped():
                    return
                came = True
                cutter.add(packet.stream.type, frames, packet.size > 0)
                yield from cutter.ready()
        except (av.FFmpegError, OSError) as error:
            is_pipe = hasattr(source, 'read') or not (
                '://' in name or os.path.isfile(name)
            )
            if came:
                yield from cutter.rest()
            elif is_pipe and 'mp4' in container.format.name:
                raise MediaError(
                    'stream',
                    name,
                    'mp4 with its index at the end cannot be read from a '
                    'pipe; name the file, or send mkv, mpegts or fragmented '
                    'mp4',
                    'Then start it again.',
                ) from error
            raise
        yield from cutter.rest()


def _name_of(source: Any) -> str:
    """What answers call a source: without user and password."""
    if hasattr(source, 'read'):
        return str(getattr(source, 'name', 'stream'))
    name = str(source)
    if '://' not in name:
        return name
    url = urlsplit(name)
    return url._replace(netloc=url.netloc.rpartition('@')[2]).geturl()


@contextmanager
def _opened(
    source: Any, name: str, idle: float, stopped: Callable[[], bool]
) -> Iterator['av.container.InputContainer']:
    text = str(source)
    try:
        with ExitStack() as stack:
            if hasattr(source, 'read'):
                opened = open_container(name, _Growing(source, 0.0, stopped))
            elif text.startswith(CAMERAS):
                device = text.replace(WEBCAM, DEVICE)
                opened = av.open(device, format='v4l2')
            elif '://' in text:
                options = dict(
                    protocol_whitelist=_PROTOCOLS,
                    max_pixels=str(MAX_PIXELS),
                    rtsp_transport='tcp',
                )
                opened = av.open(text, options=options, timeout=idle)
            elif _is_whole(text, idle):
                opened = open_container(text)
            else:
                path = 0 if text == '-' else text
                file = open(path, 'rb', buffering=0, closefd=path != 0)
                stack.enter_context(file)
                grows = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
                reader = _Growing(file, idle if grows else 0.0, stopped)
                opened = open_container(name, reader)
            yield stack.enter_context(opened)
    except av.error.ExitError as error:  # FFmpeg's word for a time limit
        why = f'nothing has come for {idle:g} s'
        raise MediaError('stream', name, why, 'Start it again.') from error


def _is_whole(path: str, idle: float) -> bool:
    """Whether nothing has been added for a while, or mp4 has its end."""
    if path == '-':
        return False
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        return False
    if time.time() - found.st_mtime > idle:
        return True
    with open(path, 'rb') as file:
        while len(head := file.read(8)) == 8:
            if head[4:] not in (b'ftyp', b'free', b'skip', b'wide'):
                # Its index comes last, or it is another format.
                return head[4:] == b'mdat'
            file.seek(max(int.from_bytes(head[:4], 'big') - 8, 0), os.SEEK_CUR)
    return False


class _Growing:
    """What is read from here on, waited for; FFmpeg cannot go back in it."""

    def __init__(
        self, file: Any, idle: float, stopped: Callable[[], bool]
    ) -> None:
        self._file, self._idle, self._stopped = file, idle, stopped

    def read(self, size: int) -> bytes:
        """Some bytes; none at the end."""
        waited = 0.0
        while not (found := self._file.read(size)):
            # A pipe that does not block says None while it has nothing.
            ended = found is not None and waited >= self._idle
            if ended or self._stopped():
                break
            time.sleep(0.1)
            waited += 0.1
        return found or b''


class _Clock:
    """Seconds that go on where the clock of a stream is set anew.

    Video and audio meet the same change one after the other: the second one
    takes over what the first one was shifted by, which keeps them together.
    """

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._shift: dict[str, float] = {}
        self._latest = 0.0

    def __call__(
        self, kind: str, second: float | None, lasts: float, start: float
    ) -> float:
        """When a frame of a modality is shown.

        ``second`` is on the clock of the stream, None if unknown; a first
        frame of unknown time is shown at ``start``.
        """
        due = self._next.get(kind)
        if second is None:
            shown = start if due is None else due
        elif due is None:
            shown = second + self._latest
        else:
            for shift in (self._shift[kind], self._latest):
                shown = second + shift
                if not is_restart(shown, due) and shown < due + MAX_GAP:
                    break
            else:
                shift, shown = due - second, due
                self._latest = shift
            self._shift[kind] = shift
        self._shift.setdefault(kind, self._latest)
        self._next[kind] = shown + lasts
        return shown


class _Cutter:
    """Frames and audio in, windows out, as :func:`stream_windows` says.

    ``streams`` are those of PyAV by modality, of which the first sets the
    start; ``lengths`` the seconds of a window and of a stride.
    """

    def __init__(
        self,
        name: str,
        streams: dict[str, Any],
        lengths: tuple[float, float],
        patience: float,
        needs_frames: bool,
    ) -> None:
        self._name, self._streams, self._lengths = name, streams, lengths
        self._patience, self._needs_frames = patience, needs_frames
        self._clock, self._resamplers = _Clock(), {}
        self.frames: deque[tuple[float, av.VideoFrame]] = deque()
        self.pieces: deque[tuple[Audio, bool]] = deque()
        self.bytes, self._number, self._was_lost = 0, 0, False
        self._first = math.inf  # second of the first data
        main = next(iter(streams.values()))
        self._fps = float(getattr(main, 'average_rate', None) or 25)
        self._has_start = main.start_time is not None
        self._begin(float((main.start_time or 0) * main.time_base))

    def _begin(self, start: float) -> None:
        self._spans = Spans(start, *self._lengths)
        self._reached = dict.fromkeys(self._streams, start)
        self._last = self._end = start

    def _when(self, kind: str, second: float | None, lasts: float) -> float:
        shown = self._clock(kind, second, lasts, self._spans.start)
        late = abs(shown - self._spans.start) > self._patience
        if self._first == math.inf and (late or not self._has_start):
            self._begin(shown)  # the header does not say it, or wrongly
        self._first = min(self._first, shown)
        return shown

    def add(self, kind: str, frames: list, has_data: bool) -> None:
        """Take the frames of a packet; a damaged one with data has none."""
        if kind == 'video':
            for frame in frames:
                self._add_frame(frame)
            return
        self._was_lost = self._was_lost or (has_data and not frames)
        for frame in frames:
            self._add_audio(frame)

    def _add_frame(self, frame: av.VideoFrame) -> None:
        # As the readers of files compute it.
        second = frame.pts and frame.pts * float(frame.time_base)
        shown = self._when('video', second, 1 / self._fps)
        self._last = max(self._last, shown)
        self._end = self._last + 1 / self._fps
        start = self._spans.at(self._number)[0]
        if self._needs_frames and self._last >= start - SLACK:
            self.frames.append((self._last, frame))
            self.bytes += _bytes_of(frame)
        self._reached['video'] = self._last

    def _add_audio(self, frame: av.AudioFrame) -> None:
        waveform, rate = mix_down(frame, self._resamplers), frame.sample_rate
        shown = self._when('audio', frame.time, len(waveform) / rate)
        self._reached['audio'] = end = shown + len(waveform) / rate
        if self._is_wanted(end):
            piece = Audio(waveform, rate, shown)
            self.pieces.append((piece, self._was_lost))
        self._was_lost = False
        if 'video' not in self._streams:
            self._last, self._end = end - 2 * SLACK, end

    def _is_wanted(self, end: float) -> bool:
        """Whether audio that ends then is part of what is to come."""
        start = self._spans.at(self._number)[0]
        return not self._number or end > start

    def ready(self) -> Iterator[Job | Failure]:
        """The windows of which all is there, or nothing more is waited for.

        Raises:
            MediaError: If a window takes more memory than ``MAX_KEPT``.
        """
        while True:
            end = self._spans.at(self._number)[1]
            needed = dict(video=end - SLACK, audio=end)
            crowded = self.bytes > MAX_KEPT
            newest = max(self._reached.values())
            waited = newest - (0.0 if crowded else self._patience)
            if any(waited <= t < needed[k] for k, t in self._reached.items()):
                break
            yield self._cut(is_open=False)
        if crowded:
            raise MediaError(
                'stream',
                self._name,
                f'the frames of a window take more than {MAX_KEPT >> 30} GiB',
                'Take shorter windows, or make the frames smaller.',
            )

    def rest(self) -> Iterator[Job | Failure]:
        """The windows at the end of the stream."""
        while self._number < self._spans.count(self._last):
            yield self._cut(self._spans.is_open(self._number, self._last))

    def _cut(self, is_open: bool) -> Job | Failure:
        start, end = self._spans.at(self._number)
        frames = tuple(
            (t, frame)
            for t, frame in self.frames
            if is_open or t < end - SLACK
        )
        audio = join_pieces(self._name, self.pieces)
        span = start if self._number else None, None if is_open else end
        end = min(end, self._end) if is_open else end
        shown = dict(source=self._name, start=start, end=end)
        self._number += 1
        start = self._spans.at(self._number)[0]
        while self.frames and self.frames[0][0] < start - SLACK:
            self.bytes -= _bytes_of(self.frames.popleft()[1])
        while self.pieces and not self._is_wanted(self.pieces[0][0].end):
            self.pieces.popleft()
        if self._needs_frames and not frames:
            return Failure(**shown, reason='no frame came in that time')
        video = self._streams.get('video')
        clip = StreamedClip(
            name=self._name,
            frames=frames,
            fps=self._fps,
            ratio=video and video.sample_aspect_ratio,
            audio=audio,
            start=round(self._first, 6),  # as FFmpeg says it of files
        )
        return Job(clip, *span, shown)


def _bytes_of(frame: av.VideoFrame) -> int:
    return sum(plane.buffer_size for plane in frame.planes)


@dataclass(frozen=True, eq=False)
class StreamedClip:
    """A window of a stream, as :meth:`Recognizer.prepare` takes it.

    Attributes:
        name: Of the stream.
        frames: Decoded frames with the seconds at which they are shown.
        fps: Frames a second.
        ratio: Width of a pixel by its height; None for square ones.
        audio: The audio of the window; None if there is none.
        start: Second at which the stream starts.
    """

    name: str
    frames: tuple[tuple[float, av.VideoFrame], ...]
    fps: float
    ratio: Fraction | None
    audio: Audio | None
    start: float

    def as_results(self) -> dict[str, Any]:
        """The first entries of a pipeline's results."""
        reader = None
        if self.frames:
            stamps, frames = zip(*self.frames, strict=True)

            def decode(wanted: np.ndarray) -> np.ndarray:
                chosen = enumerate(frames[number] for number in wanted)
                return stack_frames(chosen, len(wanted), self.ratio)

            reader = VideoReader(
                self.name, self.fps, np.array(stamps), self.start, decode
            )
        return dict(filename=self.name, video_reader=reader, audio=self.audio)
