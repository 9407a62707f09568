# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What every video reader offers: frames by number, with their times."""

import os
from collections.abc import Callable, Sequence

import numpy as np

from .containers import decoder_errors
from .faults import MediaError

Span = tuple[float | None, float | None]

# Annotated times are rounded; a frame that starts a hair early counts.
SLACK = 1e-3


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
        frame_stamps: float64 seconds on the container's clock, one for each
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
        frame_stamps: np.ndarray,
        container_start: float = 0.0,
        decode: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        if not len(frame_stamps):
            raise MediaError('video', path, 'it has no frame')
        self.path = path
        self.avg_fps = avg_fps
        self.frame_stamps = frame_stamps
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
        if self._open:
            self._open = False
            self._release()

    def _read(self, wanted: np.ndarray) -> np.ndarray:
        return self._decode(wanted)

    def _release(self) -> None:
        # Most decoders have no close: they go with their last reference.
        self._decode = None

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
