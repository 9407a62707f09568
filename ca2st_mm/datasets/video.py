# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Frames of a video by number, those of a sequential decode.

PyAV reads every file.  It counts frames by the packets alone where a packet
is known to be a frame (mp4, mkv and webm with the usual codecs) and by
decoding everywhere else.  After a jump the first decoded frame is compared
with the wanted one.  decord and torchcodec can decode the files on which they
were seen to give the same frames.
"""

import importlib
import io
import itertools
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import av
import numpy as np
from av.error import FFmpegError
from av.sidedata.sidedata import Type as SideData
from mmengine.logging import print_log

from .containers import (
    MAX_PIXELS,
    choose_stream,
    decode,
    decoder_errors,
    missing_stream,
    open_container,
    start_of,
    stores_times,
)
from .faults import EmptyClipError, MediaError

Span = tuple[float | None, float | None]

READERS = ('pyav', 'decord', 'torchcodec')
# Annotated times are rounded; a frame that starts a hair early counts.
SLACK = 1e-3
# All frames of one ``read``; larger ones are made smaller. 43 frames of
# 1920 x 1080 fit.
MAX_BYTES = 256 << 20

# Containers that give every frame its time, with codecs that make one frame
# of every packet.
_EXACT_CONTAINERS = {'mov', 'matroska'}
_EXACT_CODECS = {
    *('h264', 'hevc', 'vp8', 'vp9', 'libvpx', 'libvpx-vp9'),
    *('av1', 'libdav1d', 'mjpeg', 'prores', 'dnxhd', 'ffvhuff', 'huffyuv'),
}
# How far before a clip the second try to find a key frame starts.
_STEP_BACK = 2.0
# Decoded frames that are kept where frames are counted by decoding.
_KEPT_BYTES = 128 << 20
# A frame may leave the decoder this many frames late.
_MAX_DISORDER = 16


class VideoReader(ABC):
    """Frames of one video by number; a context manager.

    A reader belongs to the process that opened it: decoders hold threads
    and file positions that do not survive a fork, so it refuses to be used
    in another process or to be pickled.

    Args:
        path: The file, for messages.
        avg_fps: Frames a second on average.
        frame_stamps: float64 seconds on the container's clock, one for each
            frame, in order of presentation.
        container_start: Second at which the container's clock starts.

    Raises:
        MediaError: If there is no frame.
    """

    def __init__(
        self,
        path: str,
        avg_fps: float,
        frame_stamps: np.ndarray,
        container_start: float = 0.0,
    ) -> None:
        if not len(frame_stamps):
            raise MediaError('video', path, 'it has no frame')
        self.path = path
        self.avg_fps = avg_fps
        self.frame_stamps = frame_stamps
        self.container_start = container_start
        self._owner = os.getpid()
        self._open = True

    @property
    def num_frames(self) -> int:
        """Number of frames that ``read`` can reach."""
        return len(self.frame_stamps)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames, in any order, repeated or not.

        Args:
            indices: Frame numbers from 0, in order of presentation.

        Returns:
            RGB uint8, (len(indices), height, width, 3).

        Raises:
            IndexError: If an index is out of range, or there is none.
            MediaError: If a frame cannot be decoded.
            RuntimeError: If the reader is closed or was opened in another
                process.
        """
        self._check_usable()
        wanted, places = np.unique(
            np.asarray(indices, dtype=np.int64), return_inverse=True
        )
        if not len(wanted):
            raise IndexError(f"No frame of '{self.path}' was asked for.")
        if not 0 <= wanted[0] <= wanted[-1] < self.num_frames:
            raise IndexError(
                f"Frames {wanted[0]} to {wanted[-1]} of '{self.path}' were "
                f'asked for, but it has {self.num_frames}: put the sampler '
                'after OpenVideo and leave frame_inds inside the clip.'
            )
        with decoder_errors('video', self.path):
            frames = self._read(wanted)
        # Without repetitions and in order there is nothing to copy.
        if len(places) == len(wanted) and np.all(np.diff(places) == 1):
            return frames
        return frames[places]

    def close(self) -> None:
        """Free the decoder; may be called again."""
        if self._open:
            self._open = False
            self._release()

    @abstractmethod
    def _read(self, wanted: np.ndarray) -> np.ndarray:
        """Decode distinct ascending numbers to (N, H, W, 3)."""

    @abstractmethod
    def _release(self) -> None:
        """Free the decoder."""

    def _check_usable(self) -> None:
        if not self._open:
            raise RuntimeError(
                f"The reader of '{self.path}' is closed: open it again."
            )
        if os.getpid() != self._owner:
            raise RuntimeError(
                f"The reader of '{self.path}' was opened in another process: "
                'open videos inside the worker that decodes them.'
            )

    def __enter__(self) -> 'VideoReader':
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"The reader of '{self.path}' cannot be pickled: let DecodeVideo "
            'use it in the process that opened it.'
        )


class ArrayReader(VideoReader):
    """Frames that are in memory already.

    Args:
        name: What messages call it.
        avg_fps: Frames a second.
        frame_stamps: float64 seconds, one for each frame, ascending.
        frames: RGB uint8, (num_frames, height, width, 3).

    Raises:
        MediaError: If there is no frame.

    >>> frames = np.zeros((8, 4, 4, 3), np.uint8)
    >>> ArrayReader('zeros', 25.0, np.arange(8) / 25, frames).read([7]).shape
    (1, 4, 4, 3)
    """

    def __init__(
        self,
        name: str,
        avg_fps: float,
        frame_stamps: np.ndarray,
        frames: np.ndarray,
    ) -> None:
        super().__init__(name, avg_fps, frame_stamps)
        self._frames = frames

    def _read(self, wanted: np.ndarray) -> np.ndarray:
        return self._frames[wanted]

    def _release(self) -> None:
        self._frames = None


class PyAVReader(VideoReader):
    """Read a video, or a span of a long one, with PyAV.

    With a span, only the frames from the key frame before it to its end are
    counted, so that the cost does not grow with the length of the file;
    frame 0 then is that key frame.  Containers that store no times (avi,
    MPEG program streams) are decoded from the start all the same.

    Frames stand upright as players show them: the display matrix is applied,
    mirrored or turned, and oblong pixels become square.

    Args:
        path: The file.
        data: The whole file, for storage that has no local paths.
        num_threads: Threads of the decoder; 0 lets FFmpeg choose.
        span: First and last second of the part to count; None: all of it.
        square_pixels: Whether frames with oblong pixels are made wider or
            narrower.

    Raises:
        MediaError: If the file cannot be read; names it.
        EmptyClipError: If it has no frame before the end of the span.
    """

    def __init__(
        self,
        path: str,
        data: bytes | None = None,
        num_threads: int = 1,
        span: Span | None = None,
        square_pixels: bool = True,
    ) -> None:
        self.path = path
        self._data = data
        self._num_threads = num_threads
        self._square_pixels = square_pixels
        self._container = None
        # Counted by packets: the time of every frame and of the key frames,
        # in units of the stream.
        self._pts = self._keys = None
        # Counted by decoding: where that began (None: at the start of the
        # file) and the frames themselves while they are few.
        self._origin, self._kept = None, None
        start, end = span or (None, None)
        try:
            with decoder_errors('video', path):
                self._restart()
                stamps = self._count_packets(start, end)
                if stamps is None:
                    stamps = self._count_frames(start, end)
                if span is not None and not len(stamps):
                    raise EmptyClipError(
                        f'The clip from {start} s to {end} s of '
                        f"'{path}' holds no frame: its clock starts at "
                        f'{start_of(self._container):.3f} s. Correct its line '
                        'in the annotation file.',
                        'no frame in the span of the clip',
                    )
                super().__init__(
                    path,
                    self._average_rate(stamps),
                    stamps,
                    start_of(self._container),
                )
        except BaseException:
            self._release()
            raise

    @property
    def counted_by_packets(self) -> bool:
        """Whether frames are known by stored times, without decoding."""
        return self._pts is not None

    def is_plain(self) -> bool:
        """Whether other decoders are known to give the same frames.

        True for a whole H.264 file in mp4 whose packets are its frames, at
        an even rate from about 0 s, upright, with square pixels, and whose
        key frames need nothing before them.

        Raises:
            MediaError: If the file cannot be read; names it.
        """
        stamps, codec = self.frame_stamps, self._stream.codec_context
        if self._pts is None or codec.name != 'h264' or not codec.extradata:
            return False
        announced = (self._container.duration or 0) / av.time_base
        uneven = np.abs(np.diff(stamps) - 1 / self.avg_fps) > 1e-3
        if (
            'mov' not in self._formats
            or len(self._container.streams.video) > 1
            or not 0 <= stamps[0] <= 0.5
            or uneven.any()
            or announced > 2 * stamps[-1] + 10
        ):
            return False
        with decoder_errors('video', self.path):
            # decord jumps to all that the file calls key frames.
            prefix = 1 + (codec.extradata[4] & 3)
            self._seek(None)
            if not all(
                _has_idr(memoryview(packet), prefix)
                for packet in self._container.demux(self._stream)
                if packet.is_keyframe
            ):
                return False
            first = next(self._frames_from(int(self._pts[0])))
            return (
                _display_matrix(first) is None
                and (first.width, first.height) == self._shown_size(first)
                and first.format.name in ('yuv420p', 'yuvj420p')
            )

    def source(self) -> Any:
        """What other decoders take: the path, or a file object."""
        if self._data is not None:
            return io.BytesIO(self._data)
        return os.path.abspath(self.path)  # a colon after '/' is no protocol

    def _restart(self) -> None:
        """Open the file, also once more to decode from its start."""
        self._release()
        self._container = open_container(self.path, self._data)
        stream = choose_stream(self._container, 'video')
        if stream is None:
            raise missing_stream(self._container, 'video', self.path)
        context = stream.codec_context
        if not 0 < context.width * context.height <= MAX_PIXELS:
            raise self._too_large(context.width, context.height)
        context.options = dict(max_pixels=str(MAX_PIXELS))
        stream.thread_count = self._num_threads
        self._stream = stream
        self._seconds = float(stream.time_base)  # of one unit
        self._formats = set(self._container.format.name.split(','))

    def _seek(self, second: float | None) -> bool:
        """Go to a time, or to the very start; say whether it was a jump."""
        if second is not None:
            try:
                self._container.seek(
                    round(second / self._seconds), stream=self._stream
                )
                return True
            except (FFmpegError, OverflowError):
                pass  # no index, or a damaged one
        self._restart()
        return False

    def _count_packets(
        self, start: float | None, end: float | None
    ) -> np.ndarray | None:
        """Seconds of the frames, by the packets; None if in doubt.

        Args:
            start: Frames from the key frame before this second are counted.
            end: And frames before this one.
        """
        if (
            self._formats.isdisjoint(_EXACT_CONTAINERS)
            or self._stream.codec_context.name not in _EXACT_CODECS
        ):
            return None
        start = None if start is None else start - SLACK
        step, jumped = 0.0, False
        while True:
            if start is not None:
                origin = start - step
                reachable = origin > start_of(self._container)
                jumped = self._seek(origin if reachable else None)
            found = self._packets(end, jumped)
            if found is None:
                return None
            pts, keys = found
            if not jumped or (pts and pts[0] * self._seconds <= start):
                break
            # Some indexes are coarse, and file key frames by decoding time.
            step = 4 * step or _STEP_BACK
        if not pts:
            return np.zeros(0)
        if not jumped and min(pts) < pts[0]:
            # Frames before the first key frame: the decoder may drop them.
            return None
        # Behind a jump they belong to the key frame before.
        shown = np.array([time for time in pts if time >= pts[0]])
        self._pts, counts = np.unique(shown, return_counts=True)
        if counts.max() > 1:
            self._pts = None
            return None
        self._keys = np.unique(keys)
        return self._pts * self._seconds

    def _packets(
        self, end: float | None, jumped: bool
    ) -> tuple[list[int], list[int]] | None:
        """Times of all frames and of key frames; None if in doubt."""
        pts, keys = [], []
        is_vp8 = self._stream.codec_context.name in ('vp8', 'libvpx')
        for packet in self._container.demux(self._stream):
            if not packet.size or (is_vp8 and not memoryview(packet)[0] & 16):
                continue  # the end, or a VP8 frame that is never shown
            if packet.is_corrupt:
                raise MediaError('video', self.path, 'it is cut off')
            if packet.pts is None or packet.is_discard:
                return None
            if not keys and not packet.is_keyframe:
                if not jumped:
                    return None
                continue
            # No frame is shown before it is decoded: after this packet
            # nothing of the span can follow.
            dts = packet.dts
            if end is not None and dts is not None:
                if dts * self._seconds >= end:
                    break
            if end is None or packet.pts * self._seconds < end:
                pts.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
        return pts, keys

    def _count_frames(
        self, start: float | None, end: float | None
    ) -> np.ndarray:
        """Seconds of the frames, by decoding them."""
        if start is not None and stores_times(self._container):
            for step in (0.0, _STEP_BACK, 4 * _STEP_BACK, 16 * _STEP_BACK):
                origin = start - SLACK - step
                if origin <= start_of(self._container):
                    break
                self._origin = origin
                stamps = self._decode_span(end, origin + step)
                if stamps is None:
                    continue
                if np.all(np.diff(stamps) > 0):
                    return stamps
                end = None  # this clock is no guide
                break
        self._origin = None
        return self._decode_span(end)

    def _decode_span(
        self, end: float | None, before: float | None = None
    ) -> np.ndarray | None:
        """Decode from ``_origin`` on.

        Args:
            end: Second at which to stop.
            before: The first frame is shown at or before this second; None
                for any.

        Returns:
            Seconds of the frames; None if the first one is too late.
        """
        times, self._kept, size = [], [], 0
        if end is not None and not stores_times(self._container):
            end += 1.0  # guessed times are late
        for frame in self._frames_from_origin():
            time = frame.pts
            if not times and before is not None:
                if time is None or time * self._seconds > before:
                    return None
            if end is not None and time is not None:
                if time * self._seconds >= end:
                    break
            times.append((time, frame.dts))
            if self._kept is not None:
                size += 3 * frame.width * frame.height
                self._kept.append(frame)
            if size > _KEPT_BYTES:
                self._kept = None
        if not times and before is not None:
            return None
        return self._stamps_of(times)

    def _stamps_of(
        self, times_of_frames: list[tuple[int | None, int | None]]
    ) -> np.ndarray:
        """Seconds of decoded frames; missing ones by the rate of frames.

        Args:
            times_of_frames: Presentation and decoding time of each.
        """
        pts, dts = np.array(times_of_frames, float).reshape(-1, 2).T
        # FFmpeg's rule: whichever goes back less often.
        back = [np.count_nonzero(np.diff(times) <= 0) for times in (pts, dts)]
        times = (pts if back[0] <= back[1] else dts) * self._seconds
        number = np.arange(len(times))
        step = 1 / float(self._stream.average_rate or 25)
        known = np.flatnonzero(~np.isnan(times))
        if not len(known):
            return number * step
        first, last = known[0], known[-1]
        times = np.interp(number, known, times[known])
        times[:first] = times[first] - (first - number[:first]) * step
        times[last + 1 :] = times[last] + (number[last + 1 :] - last) * step
        if 'avi' in self._formats:
            # It stores no times.  FFmpeg's guesses are late by the decoder's
            # delay; the start of the stream is right.
            times += (self._stream.start_time or 0) * self._seconds - times[0]
        return times

    def _average_rate(self, stamps: np.ndarray) -> float:
        """Frames a second, from the header or else from the stamps."""
        if self._stream.average_rate:
            return float(self._stream.average_rate)
        seconds = stamps[-1] - stamps[0] if len(stamps) > 1 else 0.0
        return (len(stamps) - 1) / seconds if seconds > 0 else 1.0

    def _read(self, wanted: np.ndarray) -> np.ndarray:
        batch = _Batch(len(wanted))
        if self._pts is not None:
            self._read_by_time(wanted, batch)
        else:
            kept = self._kept or self._frames_from_origin()
            places = {int(n): place for place, n in enumerate(wanted)}
            for number, frame in enumerate(kept):
                if number in places:
                    place = places.pop(number)
                    batch.put(place, frame, self._shown_size(frame))
                if not places:
                    break
            if places:
                raise self._undecodable(min(places))
        return batch.frames

    def _read_by_time(self, wanted: np.ndarray, batch: '_Batch') -> None:
        """Go through the file once, jumping where a key frame allows it."""
        places = {int(self._pts[n]): place for place, n in enumerate(wanted)}
        while places:
            target, late = min(places), 0
            for frame in self._frames_from(target):
                if frame.pts in places:
                    place = places.pop(frame.pts)
                    batch.put(place, frame, self._shown_size(frame))
                    if not places:
                        return
                    target, late = min(places), 0
                    key = np.searchsorted(self._keys, target, 'right') - 1
                    if self._keys[max(key, 0)] > frame.pts:
                        break
                elif frame.pts is not None and frame.pts > target:
                    late += 1
                    if late > _MAX_DISORDER:
                        raise self._undecodable(wanted[places[target]])
            else:
                raise self._undecodable(wanted[places[target]])

    def _frames_from(self, target: int) -> Iterator[av.VideoFrame]:
        """Frames from a key frame at or before a time, at best the last."""
        known = int(np.searchsorted(self._keys, target, 'right'))
        back = 1
        while back <= known:
            key = int(self._keys[known - back])
            # What a file calls a key frame need not be one, and a jump may
            # end after it.
            if self._seek(key * self._seconds):
                frames = itertools.dropwhile(
                    lambda frame: not frame.key_frame, self._frames()
                )
                first = next(frames, None)
                if first is not None and (first.pts or 0) <= target:
                    return itertools.chain([first], frames)
            back *= 2
        self._restart()
        return self._frames()

    def _frames_from_origin(self) -> Iterator[av.VideoFrame]:
        """The frames that were counted, in order."""
        if self._seek(self._origin):
            # Those before a key frame lack what they are made of.
            return itertools.dropwhile(
                lambda frame: not frame.key_frame, self._frames()
            )
        return self._frames()

    def _frames(self) -> Iterator[av.VideoFrame]:
        # Frames counted by packets would not be the right ones.
        strict = self._pts is not None
        for _, frames in decode(self._container, self._stream, strict):
            yield from frames

    def _shown_size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Width and height before the display matrix is applied."""
        ratio = self._stream.sample_aspect_ratio
        if not self._square_pixels or not ratio or ratio == 1:
            return frame.width, frame.height
        if not 0.1 < ratio < 10:  # a damaged header
            return frame.width, frame.height
        return max(round(frame.width * ratio), 1), frame.height

    def _undecodable(self, number: int) -> MediaError:
        second = self.frame_stamps[number]
        why = f'its frame at {second:.3f} s cannot be decoded'
        return MediaError('video', self.path, why)

    def _too_large(self, width: int, height: int) -> MediaError:
        return MediaError(
            'video',
            self.path,
            f'frames of {width or "unknown"} x {height or "unknown"} pixels '
            f'are beyond the limit of {MAX_PIXELS // 1_000_000} million',
            'Make them smaller with tools/data/resize_videos.py.',
        )

    def _release(self) -> None:
        if self._container is not None:
            self._container.close()


class _Batch:
    """The frames of one ``read``, reduced while they are decoded.

    Args:
        count: How many there will be.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._scale = 1.0
        self.frames: np.ndarray | None = None

    def put(
        self, place: int, frame: av.VideoFrame, size: tuple[int, int]
    ) -> None:
        """Convert a frame.

        Args:
            place: Where it belongs.
            frame: As decoded.
            size: Width and height at which it is shown.
        """
        if self.frames is None:
            pixels = 3 * self._count * size[0] * size[1]
            self._scale = min(np.sqrt(MAX_BYTES / pixels), 1.0)
        width, height = (max(int(s * self._scale), 1) for s in size)
        if self._scale < 1 and place == 0:
            print_log(
                f'{self._count} frames of {size[0]} x {size[1]} pixels are '
                f'reduced to {width} x {height} to fit {MAX_BYTES >> 20} MiB.',
                logger='current',
            )
        pixels = to_rgb(frame, width, height)
        if self.frames is None:
            shape = (self._count, *pixels.shape)
            self.frames = np.empty(shape, np.uint8)
        if pixels.shape != self.frames.shape[1:]:
            # The size changes inside the file: the first one counts.
            height, width = self.frames.shape[1:3]
            if _is_transposed(_display_matrix(frame)):
                height, width = width, height
            pixels = to_rgb(frame, width, height)
        self.frames[place] = pixels


class _OtherReader(VideoReader):
    """A whole file that PyAV has counted, decoded by another package.

    Args:
        counted: The file, already counted.
        num_threads: Threads of the decoder.
    """

    def __init__(self, counted: PyAVReader, num_threads: int) -> None:
        super().__init__(
            counted.path,
            counted.avg_fps,
            counted.frame_stamps,
            counted.container_start,
        )
        self._decoder = self._start(counted.source(), num_threads)

    @abstractmethod
    def _start(self, source: Any, num_threads: int) -> Any:
        """The decoder of a path or of a file object."""

    def count(self) -> int:
        """Number of frames that the decoder knows of."""
        return len(self._decoder)

    def _release(self) -> None:
        # Neither package has a close: a decoder goes with its last reference.
        self._decoder = None


class _DecordReader(_OtherReader):
    """decord, MMAction2's usual decoder."""

    def _start(self, source: Any, num_threads: int) -> Any:
        import decord

        return decord.VideoReader(source, num_threads=num_threads)

    def _read(self, wanted: np.ndarray) -> np.ndarray:
        return self._decoder.get_batch(wanted).asnumpy()


class _TorchCodecReader(_OtherReader):
    """torchcodec; exact seeking scans the file when it is opened."""

    def _start(self, source: Any, num_threads: int) -> Any:
        from torchcodec.decoders import VideoDecoder

        return VideoDecoder(
            source,
            dimension_order='NHWC',
            num_ffmpeg_threads=num_threads,
            seek_mode='exact',
        )

    def _read(self, wanted: np.ndarray) -> np.ndarray:
        batch = self._decoder.get_frames_at(indices=wanted.tolist())
        return batch.data.numpy()


_OTHERS = dict(decord=_DecordReader, torchcodec=_TorchCodecReader)
_MODULES = dict(decord='decord', torchcodec='torchcodec.decoders')


def usable_reader(name: str) -> str:
    """The reader itself, or PyAV with a warning where it cannot be imported.

    Args:
        name: One of ``READERS``.

    Raises:
        ValueError: If the name is unknown.

    >>> usable_reader('pyav')
    'pyav'
    """
    if name not in READERS:
        raise ValueError(f'reader is one of {READERS}, not {name!r}.')
    try:
        importlib.import_module(_MODULES.get(name, 'av'))
    except (ImportError, OSError, RuntimeError) as error:
        # torchcodec raises RuntimeError where FFmpeg's libraries are absent
        why = str(error).strip().splitlines()[0]
        print_log(
            f"Videos are read by pyav: reader='{name}' cannot be used here "
            f"({why}); 'pip install {name}' if you need it.",
            logger='current',
            level=logging.WARNING,
        )
        return 'pyav'
    return name


def open_video(
    path: str,
    reader: str = 'pyav',
    *,
    data: bytes | None = None,
    num_threads: int = 1,
    span: Span | None = None,
    square_pixels: bool = True,
) -> VideoReader:
    """Open a video.

    Args:
        path: The file.
        reader: ``'pyav'``; or ``'decord'`` or ``'torchcodec'``, which decode
            whole files of the plainest kind (:meth:`PyAVReader.is_plain`)
            while PyAV reads all others.
        data: The whole file, for storage that has no local paths.
        num_threads: Threads of the decoder; 0 lets it choose.
        span: First and last second of the part to count; None: all of it.
        square_pixels: Whether frames with oblong pixels are made wider or
            narrower.

    Raises:
        MediaError: If the file cannot be read; names it.

    >>> with open_video('clip.mp4') as video:  # doctest: +SKIP
    ...     video.read([0, 10]).shape
    (2, 240, 320, 3)
    """
    opened = PyAVReader(path, data, num_threads, span, square_pixels)
    whole = span is None or span == (None, None)
    if reader == 'pyav' or not whole or not opened.is_plain():
        return opened
    try:
        other = _OTHERS[reader](opened, num_threads)
    except RuntimeError as error:  # decord's DECORDError is one too
        why = str(error).splitlines()[0]
    else:
        if other.count() == opened.num_frames:
            opened.close()
            return other
        why = f'it counts {other.count()} frames, not {opened.num_frames}'
    print_log(
        f"'{path}' is read by pyav in place of {reader}: {why}",
        logger='current',
        level=logging.WARNING,
    )
    return opened


def frames_in_span(stamps: np.ndarray, span: Span) -> tuple[int, int]:
    """The frames shown in a span.

    Args:
        stamps: Seconds of the frames, in order of presentation.
        span: First and last second; None for an open end.

    Returns:
        First frame and the one after the last, with
        start <= stamp < end.

    >>> frames_in_span(np.arange(100) / 25, (1.0, 2.0))
    (25, 50)
    """
    start, end = span
    # A clock that jumps back (joined recordings) goes on for this.
    stamps = np.maximum.accumulate(stamps)
    low = 0 if start is None else np.searchsorted(stamps, start - SLACK)
    high = len(stamps) if end is None else np.searchsorted(stamps, end - SLACK)
    return int(low), int(high)


def to_rgb(
    frame: av.VideoFrame, width: int | None = None, height: int | None = None
) -> np.ndarray:
    """Pixels as a player shows them: the display matrix applied.

    Args:
        frame: A decoded frame.
        width: Pixels of the stored frame; None keeps them.
        height: The same.

    Returns:
        RGB uint8, (height, width, 3), upright.
    """
    pixels = frame.to_ndarray(format='rgb24', width=width, height=height)
    matrix = _display_matrix(frame)
    if matrix is None:
        return pixels
    # Row vectors: x' = a x + c y, y' = b x + d y.
    (a, b), (c, d) = matrix
    if _is_transposed(matrix):
        pixels, (a, d) = pixels.swapaxes(0, 1), (c, b)
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _has_idr(packet: memoryview, prefix: int) -> bool:
    """Whether a packet of H.264 in mp4 has a slice that resets the decoder.

    Args:
        packet: Units (ITU-T H.264, 7.3.1), each after its length.
        prefix: Bytes of a length.
    """
    at = 0
    while at + prefix < len(packet):
        if packet[at + prefix] & 31 == 5:
            return True
        at += prefix + int.from_bytes(packet[at : at + prefix], 'big')
    return False


def _display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """How x and y are mapped, (2, 2); None if they stay."""
    side_data = frame.side_data.get(SideData.DISPLAYMATRIX)
    if side_data is None or len(bytes(side_data)) != 36:
        return None
    matrix = np.frombuffer(bytes(side_data), np.int32).reshape(3, 3)[:2, :2]
    if not matrix.any() or np.array_equal(np.sign(matrix), np.eye(2)):
        return None
    return matrix


def _is_transposed(matrix: np.ndarray | None) -> bool:
    """Whether columns become rows (by the nearest quarter of a turn)."""
    return matrix is not None and abs(matrix[0, 1]) > abs(matrix[0, 0])
