# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Frames of videos by number, with their times, as a sequential decode gives.

Frames of a file are indexed by packets where a packet is known to be a frame
(mp4, mkv and webm with the usual codecs) and by decoding everywhere else.
After a jump the first decoded frame is compared with the wanted one.
"""

import itertools
import os
import re
from collections.abc import Callable, Container, Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from .containers import (
    CONVERT,
    MAX_DISORDER,
    MAX_PIXELS,
    choose_stream,
    clock_start,
    decode,
    decoder_errors,
    is_restart,
    missing_stream,
    open_container,
    packets_of,
    start_of,
    stores_times,
)
from .faults import EmptyClipError, MediaError
from .h264 import may_hold_fields
from .pixels import stack_frames

Span = tuple[float | None, float | None]

# Annotated times are rounded; a frame that starts a hair early counts.
SLACK = 1e-3
# Containers that give every frame its time, with codecs that make one frame
# of every packet.
_EXACT_CONTAINERS = {'mov', 'matroska'}
_EXACT_CODECS = {
    *('h264', 'hevc', 'vp8', 'vp9', 'libvpx', 'libvpx-vp9'),
    *('av1', 'libdav1d', 'mjpeg', 'prores', 'dnxhd', 'ffvhuff', 'huffyuv'),
}
# Seconds before a clip where a key frame is looked for, one after the other.
_STEPS_BACK = (0.0, 2.0, 8.0, 32.0)
# Seconds between the two clocks of a frame that tell of lost packets.
_APART = 0.5
# Decoded frames that are kept where frames are counted by decoding.
_KEPT_BYTES = 128 << 20


class VideoReader:
    """Frames of one video by number; a context manager.

    It is refused in another process than the one that opened it: threads
    and file positions of decoders do not survive a fork.

    >>> frames, stamps = np.zeros((8, 4, 4, 3), np.uint8), np.arange(8) / 25
    >>> reader = VideoReader('zeros', 25.0, stamps, decode=frames.__getitem__)
    >>> reader.read([7, 0]).shape
    (2, 4, 4, 3)

    Args:
        path: The file, for messages.
        avg_fps: Frames a second on average.
        frame_times: float64 seconds on the container's clock, one for each
            frame, in order of presentation.
        container_start: Second at which the container's clock starts.
        decode: Distinct ascending frame numbers to RGB uint8 (N, H, W, 3).

    Raises:
        MediaError: If there is no frame.
    """

    _open, _owner = False, None

    def __init__(
        self,
        path: str,
        avg_fps: float,
        frame_times: np.ndarray,
        container_start: float = 0.0,
        decode: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        if not len(frame_times):
            raise MediaError('video', path, 'it has no frame')
        self.path = path
        self.avg_fps = avg_fps
        self.frame_times = frame_times
        self.container_start = container_start
        self._decode = decode
        self._owner = os.getpid()
        self._open = True

    def __del__(self) -> None:
        # A container and its streams are a reference cycle: without this
        # the threads of the decoder stay until the garbage collector runs.
        if os.getpid() == self._owner:
            self.close()

    @property
    def num_frames(self) -> int:
        """Number of frames that ``read`` can reach."""
        return len(self.frame_times)

    def frames_in(self, span: Span) -> tuple[int, int]:
        """The frames shown in a span: the first, and the one after the last.

        Args:
            span: First and last second; None for an open end.

        Raises:
            EmptyClipError: If there is none.
        """
        first, stop = frames_in_span(self.frame_times, span)
        if stop <= first:
            low, high = self.frame_times[[0, -1]]
            raise _empty_clip(
                self.path,
                span,
                f'its frames are shown from {low:.3f} s to {high:.3f} s',
            )
        return first, stop

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
        if not self._open:
            raise RuntimeError(
                f"The reader of '{self.path}' is closed: open it again."
            )
        if os.getpid() != self._owner:
            raise RuntimeError(
                f"The reader of '{self.path}' was opened in another process: "
                'open videos inside the worker that decodes them.'
            )
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
        self._open, self._decode = False, None

    def _read(self, wanted: np.ndarray) -> np.ndarray:
        return self._decode(wanted)

    def __enter__(self) -> 'VideoReader':
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


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


class PyAVReader(VideoReader):
    """Read a video, or a span of a long one, with PyAV.

    With a span, only the frames from the key frame before it to its end are
    indexed, so that the cost does not grow with the length of the file;
    frame 0 then is that key frame.  Containers that store no times (avi,
    MPEG program streams) are decoded from the start all the same.

    Frames stand upright as players show them: the display matrix is applied,
    mirrored or turned, and oblong pixels become square.

    >>> with PyAVReader('clip.mp4') as video:
    ...     video.read([0, 10]).shape
    (2, 240, 320, 3)

    Args:
        path: The file.
        data: The whole file, for storage that has no local paths.
        num_threads: Threads of the decoder; 0 lets FFmpeg choose.
        span: First and last second of the part to index; None: all of it.
        square_pixels: Whether frames with oblong pixels are made wider or
            narrower.

    Attributes:
        has_index: Whether frames are known by stored times, without decoding.
        is_joined: Whether it is of recordings: its clock starts again.

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
        self._square = square_pixels
        self._container = self._stream = None
        # Indexed by packets: the time of every frame and of the key frames,
        # in units of the stream.
        self._pts = self._keys = None
        # Indexed by decoding: the second from which on (None: the start of
        # the file) and the frames themselves while they are few.
        self._origin, self._kept = None, None
        self._is_no_guide = False  # its clock, to where a frame is
        self._has_lost_packets = self.is_joined = self.has_index = False
        start, end = span or (None, None)
        try:
            with decoder_errors('video', path):
                self._restart()
                stamps = self._index_packets(start, end)
                self.has_index = stamps is not None
                if stamps is None:
                    stamps = self._index_frames(start, end)
                clock = start_of(self._container)
                if 'matroska' in self._formats and (
                    start is not None or not self.has_index
                ):
                    with open_container(path, data) as container:
                        clock = clock_start(container)
                if (start, end) != (None, None) and not len(stamps):
                    raise _empty_clip(
                        path,
                        (start, end),
                        f'its clock starts at {clock:.3f} s',
                    )
                rate = self._stream.average_rate or _rate_of(stamps)
                super().__init__(path, float(rate), stamps, clock)
        except BaseException:
            self._release()
            raise

    @property
    def ratio(self) -> Fraction | None:
        """Width of a pixel by its height; None where that is left alone."""
        return self._stream.sample_aspect_ratio if self._square else None

    def close(self) -> None:
        """Free the decoder; may be called again."""
        super().close()
        self._release()

    # Opening and jumping.

    def _restart(self) -> None:
        """Open the file, also once more to decode from its start."""
        self._release()
        self._container = open_container(self.path, self._data)
        stream = choose_stream(self._container, 'video')
        if stream is None:
            raise missing_stream(self._container, 'video', self.path)
        context = stream.codec_context
        width, height = context.width, context.height
        if not 0 < width * height <= MAX_PIXELS:
            # FFmpeg also says 0 x 0 of what is beyond the limit.
            raise MediaError(
                'video',
                self.path,
                f'the size of its frames, {width} x {height}, is unknown or '
                f'beyond the limit of {MAX_PIXELS // 1_000_000} million '
                'pixels',
                CONVERT,
            )
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

    # The index.

    def _index_packets(
        self, start: float | None, end: float | None
    ) -> np.ndarray | None:
        """Seconds of the frames, by the packets; None if in doubt.

        From the key frame before ``start`` to the last frame before ``end``.
        """
        codec = self._stream.codec_context
        if (
            self._formats.isdisjoint(_EXACT_CONTAINERS)
            or codec.name not in _EXACT_CODECS
            or (codec.name == 'h264' and may_hold_fields(codec.extradata))
        ):
            return None
        for origin in self._origins(start):
            jumped = start is not None and self._seek(origin)
            found = self._times_of_packets(end, jumped)
            if found is None:
                return None
            pts, keys = found
            if not jumped or (pts and pts[0] * self._seconds <= start):
                break
            # Some indexes are coarse, and file key frames by decoding time.
        if not pts:
            return np.zeros(0)
        if self._stream.codec_context.has_b_frames and (
            np.all(np.diff(pts) > 0) and self._is_misdated()
        ):
            return None
        if not jumped and min(pts) < pts[0]:
            # Frames before the first key frame: the decoder may drop them.
            return None
        # After a seek they belong to the key frame before.
        shown = [time for time in pts if time >= pts[0]]
        times, counts = np.unique(shown, return_counts=True)
        if counts.max() > 1:
            return None
        self._pts, self._keys = times, np.unique(keys)
        return times * self._seconds

    def _origins(self, start: float | None) -> Iterator[float | None]:
        """Where to look for a key frame, at last at the start of the file."""
        for step in _STEPS_BACK if start is not None else ():
            if start - SLACK - step > start_of(self._container):
                yield start - SLACK - step
        yield None

    def _is_misdated(self) -> bool:
        """Whether times of decoding stand in place of those of showing."""
        frames = itertools.islice(self._frames(None), 4 * MAX_DISORDER)
        times = np.array([frame.pts for frame in frames], float)
        self._is_no_guide = bool(np.any(np.diff(times) <= 0))
        return self._is_no_guide

    def _times_of_packets(
        self, end: float | None, jumped: bool
    ) -> tuple[list[int], list[int]] | None:
        """Times of all frames and of key frames; None if in doubt."""
        pts, keys = [], []
        is_vp8 = self._stream.codec_context.name in ('vp8', 'libvpx')
        for packet in packets_of(self._container, self._stream):
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
            if end is not None and packet.dts is not None:
                if packet.dts * self._seconds >= end:
                    break
            if end is None or packet.pts * self._seconds < end:
                pts.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
        return pts, keys

    def _index_frames(
        self, start: float | None, end: float | None
    ) -> np.ndarray:
        """Seconds of the frames, by decoding them."""
        header = self._stream.codec_context.extradata or b''
        if self._is_no_guide or re.search(rb'DivX\d+(b|Build)\d+p', header):
            # DivX and XviD in avi: packets of two frames.  In other
            # containers their times are guessed; all of them tell how.
            start = end = None
        if start is not None and not stores_times(self._container):
            start = None
        for origin in self._origins(start):
            if origin is None:
                break
            self._origin = origin
            stamps = self._decode_span(end, start - SLACK)
            if stamps is None:
                continue
            if np.all(np.diff(stamps) > 0) and not self._has_lost_packets:
                return stamps
            end = None  # this clock is no guide
            break
        self._origin = None
        return self._decode_span(end)

    def _decode_span(
        self, end: float | None, before: float | None = None
    ) -> np.ndarray | None:
        """Seconds of the frames from ``_origin`` to ``end``.

        None if the first one is not shown at or before ``before``.
        """
        times, self._kept, size = [], [], 0
        if end is not None and not stores_times(self._container):
            end += 1.0  # guessed times are late
        for frame in self._frames(self._origin):
            if not times and before is not None:
                if frame.pts is None or frame.pts * self._seconds > before:
                    return None
            times.append((frame.pts, frame.dts))
            size += 3 * frame.width * frame.height
            if self._kept is not None:
                self._kept.append(frame)
            if size > _KEPT_BYTES:
                self._kept = None
            # Either may be the right one, see below.
            known = [time for time in times[-1] if time is not None]
            if end is not None and known and min(known) * self._seconds >= end:
                break
        if not times and before is not None:
            return None
        stamps = self._stamps_of(times)
        if end is None:
            return stamps
        # The frame at the end was needed to time those of mkv below 0, to
        # which FFmpeg gives no time.
        reached = np.maximum.accumulate(stamps)
        return stamps[: np.searchsorted(reached, end)]

    def _stamps_of(
        self, times_of_frames: list[tuple[int | None, int | None]]
    ) -> np.ndarray:
        """Seconds of frames, by their presentation and decoding times."""
        pts, dts = np.array(times_of_frames, float).reshape(-1, 2).T
        # FFmpeg's rule: whichever goes back less often.
        back = [
            np.cumsum(np.diff(times, prepend=-np.inf) <= 0)
            for times in (pts, dts)
        ]
        if 'mpegts' in self._formats:
            # Packets may have been lost: what counts is the past of a frame.
            take_pts = (back[0] <= back[1]) & ~np.isnan(pts) | np.isnan(dts)
            times = np.where(take_pts, pts, dts)
            apart = np.abs(pts - dts) * self._seconds
            self._has_lost_packets = bool(np.any(apart > _APART))
        else:
            times = pts if sum(back[0][-1:]) <= sum(back[1][-1:]) else dts
        times = times * self._seconds
        number = np.arange(len(times))
        step = 1 / float(self._stream.average_rate or 25)
        known = np.flatnonzero(~np.isnan(times))
        if not len(known):
            return number * step
        first, last = known[0], known[-1]
        times = np.interp(number, known, times[known])
        times[:first] = times[first] - (first - number[:first]) * step
        times[last + 1 :] = times[last] + (number[last + 1 :] - last) * step
        # Where the clock starts again (joined recordings) time goes on.
        for n in np.flatnonzero(is_restart(times[1:], times[:-1])) + 1:
            if is_restart(times[n : n + 3], times[n - 1]).all():
                self.is_joined = True
                times[n:] += times[n - 1] + step - times[n]
        if 'avi' in self._formats:
            # It stores no times.  FFmpeg's guesses are late by the decoder's
            # delay; the start of the stream is right.
            times += (self._stream.start_time or 0) * self._seconds - times[0]
        return times

    # Frames.

    def decoded(self, wanted: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Decode frames one after the other, as they are stored.

        Args:
            wanted: Distinct ascending numbers.

        Yields:
            Place in ``wanted``, and a frame of PyAV.

        Raises:
            MediaError: If a frame cannot be decoded.
        """
        if self.has_index:
            yield from self._decoded_by_time(wanted)
            return
        places = {int(n): place for place, n in enumerate(wanted)}
        frames = self._kept or self._frames(self._origin)
        for number, frame in enumerate(frames):
            if number in places:
                yield places.pop(number), frame
            if not places:
                return
        raise self._undecodable(min(places))

    def _decoded_by_time(self, wanted: np.ndarray) -> Iterator:
        """Go through the file once, jumping where a key frame allows it."""
        places = {int(self._pts[n]): place for place, n in enumerate(wanted)}
        # No other frame of H.264 is made of those that are not references.
        needed = places if self._stream.codec_context.name == 'h264' else None
        while places:
            target, late, found = min(places), 0, False
            for frame in self._frames_from(target, needed):
                if frame.pts in places:
                    yield places.pop(frame.pts), frame
                    if not places:
                        return
                    target, late = min(places), 0
                    key = np.searchsorted(self._keys, target, 'right') - 1
                    found = self._keys[max(key, 0)] > frame.pts
                elif frame.pts is not None and frame.pts > target:
                    late += 1
                if found or late > MAX_DISORDER:
                    break
            if not found and needed is None:
                raise self._undecodable(wanted[places[target]])
            if not found:
                needed = None  # once more, with all frames

    def _read(self, wanted: np.ndarray) -> np.ndarray:
        return stack_frames(self.decoded(wanted), len(wanted), self.ratio)

    def _frames_from(
        self, target: int, needed: Container[int] | None
    ) -> Iterator[av.VideoFrame]:
        """Frames from a key frame at or before a time, at best the last."""
        known, back = int(np.searchsorted(self._keys, target, 'right')), 1
        while back <= known:
            key = int(self._keys[known - back])
            frames = self._frames(key * self._seconds, needed)
            first = next(frames, None)
            # What a file calls a key frame need not be one, and a jump may
            # end after it.
            if first is not None and (first.pts or 0) <= target:
                return itertools.chain([first], frames)
            back *= 2
        return self._frames(None, needed)

    def _frames(
        self, second: float | None, needed: Container[int] | None = None
    ) -> Iterator[av.VideoFrame]:
        """Frames from a jump to a second on, or from the start of the file.

        With ``needed`` times, only those and the ones that they are made of.
        """
        jumped = self._seek(second)
        # Frames indexed by packets would not be the right ones after a
        # damaged packet.
        strict = self.has_index
        decoded = decode(self._container, self._stream, strict, needed)
        frames = (frame for _, some in decoded for frame in some)
        if jumped:  # those before a key frame lack what they are made of
            frames = itertools.dropwhile(lambda f: not f.key_frame, frames)
        return frames

    def _undecodable(self, number: int) -> MediaError:
        second = self.frame_times[number]
        why = f'its frame at {second:.3f} s cannot be decoded'
        return MediaError('video', self.path, why)

    def _release(self) -> None:
        if self._container is not None:
            self._container.close()
            # The threads of the decoder end with its last reference.
            self._container = self._stream = None


def _empty_clip(path: str, span: Span, known: str) -> EmptyClipError:
    return EmptyClipError(
        f"The clip from {span[0]} s to {span[1]} s of '{path}' holds no "
        f'frame: {known}. Correct its start and end.',
        'no frame in the span of the clip',
    )


def _rate_of(stamps: np.ndarray) -> float:
    """Frames a second, where the header does not say it."""
    seconds = np.ptp(stamps) if len(stamps) > 1 else 0.0
    return (len(stamps) - 1) / seconds if seconds > 0 else 1.0
