# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What every video reader offers, and what none may do."""

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import (
    IO,
    NamedTuple,
    NoReturn,
)

import numpy as np

from ..faults import MediaError


class Source(NamedTuple):
    """Where a video comes from.

    Attributes:
        path: Its name; opened directly where ``data`` is None.
        data: The whole file, for storage that has no local paths.
    """

    path: str
    data: bytes | None = None

    def open(self) -> str | IO[bytes]:
        """What a decoder takes: the path or a file object of the bytes."""
        return self.path if self.data is None else io.BytesIO(self.data)


class VideoReader(ABC):
    """Frames of one video by index; a context manager.

    A reader belongs to the process that opened it: decoders hold threads
    and file positions that do not survive a fork, so it refuses to be used
    in another process or to be pickled.

    Args:
        path: The file, for messages.
        avg_fps: Frames a second on average.
        frame_stamps: float64 seconds on the container's clock, one for each
            frame, ascending.

    Raises:
        MediaError: If there is no frame.
    """

    def __init__(
        self, path: str, avg_fps: float, frame_stamps: np.ndarray
    ) -> None:
        if not len(frame_stamps):
            raise MediaError('video', path, 'it has no frame')
        self.path = path
        self.avg_fps = avg_fps
        self.frame_stamps = frame_stamps
        self._owner = os.getpid()
        self._open = True

    @classmethod
    def open(cls, source: Source, num_threads: int = 1) -> 'VideoReader':
        """Open a whole file.

        Args:
            source: The file.
            num_threads: Threads of the decoder; 0 lets it choose.

        Raises:
            MediaError: If the file cannot be read; names it.
        """
        return cls(source, num_threads=num_threads)

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
        frames = self._decode(wanted)
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
    def _decode(self, wanted: np.ndarray) -> np.ndarray:
        """Decode distinct ascending indices to (N, H, W, 3)."""

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


@contextmanager
def named_faults(path: str, *errors: type) -> Iterator[None]:
    """Turn the errors of a decoder into one that names the file.

    Args:
        path: The file.
        *errors: Types to turn; others pass.

    Raises:
        MediaError: In place of any of ``errors``.
    """
    try:
        yield
    except MediaError:
        raise
    except errors as error:
        raise MediaError('video', path, _cause(error)) from error


def _cause(error: Exception) -> str:
    """The telling part of a decoder's message."""
    system = getattr(error, 'strerror', None)  # OSError, PyAV's errors
    if system:
        return system
    text = str(error).strip() or type(error).__name__
    if 'size must exactly match' in text:
        return (
            'decord 0.6 cannot decode pictures of this width (a fault with '
            "some widths up to 48 pixels); set OpenVideo(reader='pyav')"
        )
    # decord puts a C++ location before and a stack trace behind.
    return text.split('Stack trace')[0].rsplit('] ', maxsplit=1)[-1]
