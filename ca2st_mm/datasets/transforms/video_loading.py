# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Opening and decoding videos, and the times of the sampled frames."""

from typing import Any

import numpy as np
from mmaction.datasets.transforms import DecordDecode, DecordInit
from mmengine import fileio

from ca2st_mm.registry import TRANSFORMS

from ..faults import MediaError
from ..other_readers import open_video, usable_reader
from ..video import VideoReader
from .base import Transform


@TRANSFORMS.register_module()
class OpenVideo(DecordInit):
    """MMAction2's ``DecordInit``, with time stamps and the bounds of a clip.

    Where the sample has ``clip_start``/``clip_end``, ``start_index`` and
    ``total_frames`` are those of the frames shown in that span, so every
    sampler of MMAction2 stays inside the clip.  Only the part around it is
    read; frame numbers then count from the key frame before the clip.

    Required keys: ``filename``; optional ``clip_start``, ``clip_end``, and
    ``video_reader``, which then is used in place of the file.
    Added keys: ``video_reader`` (a
    :class:`ca2st_mm.datasets.video.VideoReader`), ``total_frames``,
    ``start_index``, ``avg_fps``, ``frame_times`` (float64 seconds on the
    container's clock, one for each frame number), ``container_start``
    (second at which that clock starts).

    Args:
        reader: ``'pyav'``; or ``'decord'`` or ``'torchcodec'``, which decode
            whole files of the plainest kind while PyAV reads all others, or
            all where the package cannot be imported (with a warning).
        square_pixels: Whether frames with oblong pixels are made wider or
            narrower, as players show them.
        **kwargs: Arguments of ``DecordInit``.

    Raises:
        MediaError: If the file cannot be read; names it.
        EmptyClipError: If no frame is shown in the span of the clip.

    >>> OpenVideo().square_pixels
    True
    """

    def __init__(
        self, reader: str = 'pyav', square_pixels: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.reader = usable_reader(reader)
        self.square_pixels = square_pixels

    def transform(self, results: dict) -> dict:
        """Open ``results['filename']``."""
        span = results.get('clip_start'), results.get('clip_end')
        reader = results.get('video_reader') or open_video(
            results['filename'],
            self.reader,
            self._data(results['filename']),
            self.num_threads,
            span,
            self.square_pixels,
        )
        # Whoever made the results closes it, also after an error.
        results['video_reader'] = reader
        first, stop = reader.frames_in(span)
        results.update(
            avg_fps=reader.avg_fps,
            frame_times=reader.frame_times,
            start_index=first,
            total_frames=stop - first,
            container_start=reader.container_start,
        )
        return results

    def _data(self, path: str) -> bytes | None:
        """The bytes of a file in another storage than the disk."""
        if self.io_backend == 'disk':
            return None
        # ``DecordInit``'s arguments in the words of MMEngine's fileio.
        arguments = dict(backend=self.io_backend, **self.kwargs)
        try:
            return fileio.get(path, backend_args=arguments)
        except OSError as error:
            raise MediaError('video', path, error) from error

    __repr__ = Transform.__repr__


@TRANSFORMS.register_module()
class DecodeVideo(DecordDecode):
    """MMAction2's ``DecordDecode`` for the reader of :class:`OpenVideo`.

    Frames are always the exact ones.  The reader is closed afterwards, also
    when a frame cannot be decoded.

    Required keys: ``video_reader``, ``frame_inds``.
    Added keys: ``imgs``, a list of RGB uint8 (height, width, 3);
    ``original_shape``, ``img_shape``; ``video_reader`` becomes None.

    Raises:
        MediaError: If a frame cannot be decoded; names the file.
        TypeError: If another transform opened the video.
    """

    def __init__(self) -> None:
        super().__init__(mode='accurate')

    def transform(self, results: dict) -> dict:
        """Decode ``results['frame_inds']``."""
        reader = results['video_reader']
        if not isinstance(reader, VideoReader):
            raise TypeError(
                f'DecodeVideo got a {type(reader).__name__}: open the video '
                "with dict(type='OpenVideo')."
            )
        with reader:
            return super().transform(results)

    def _decord_load_frames(
        self, container: VideoReader, frame_inds: np.ndarray
    ) -> list:
        """The step of ``DecordDecode`` that touches the decoder."""
        return list(container.read(frame_inds))


@TRANSFORMS.register_module()
class FrameTimes(Transform):
    """Write when the sampled frames are shown.

    Place it after spatial crops (``ThreeCrop``), so that every view gets
    its times, and before audio is cut.

    Required keys: ``frame_inds``, ``frame_times`` (from
    :class:`OpenVideo`), ``num_clips``, ``clip_len``.
    Added keys: ``imgs_times``, float32 seconds (num_views, clip_len);
    ``time_origin``, where on the container's clock their zero lies.

    Args:
        origin: ``'file'``: zero is the container's zero; ``'clip'``: zero
            is ``clip_start``, or the start of a whole file, so clips cut out
            of a long file get the same small numbers as trimmed files.
    """

    def __init__(self, origin: str = 'file') -> None:
        if origin not in ('file', 'clip'):
            raise ValueError(f"origin is 'file' or 'clip', not {origin!r}.")
        self.origin = origin

    def transform(self, results: dict) -> dict:
        """Look up the stamps of ``frame_inds``."""
        if 'frame_times' not in results:
            raise KeyError(
                'FrameTimes needs the time stamps of the frames: open the '
                "video with dict(type='OpenVideo') instead of DecordInit."
            )
        zero = 0.0
        if self.origin == 'clip':
            zero = results.get('clip_start')
            if zero is None:  # recordings start at any second
                zero = results.get('container_start', 0.0)
        num_clips, num_crops = count_views(results)
        times = results['frame_times'][np.ravel(results['frame_inds'])]
        times = (times - zero).reshape(num_clips, results['clip_len'])
        results['imgs_times'] = np.tile(times, (num_crops, 1)).astype(
            np.float32
        )
        results['time_origin'] = zero
        return results


def count_views(results: dict) -> tuple[int, int]:
    """Number of clips and of spatial crops; (1, 1) for audio alone.

    A view is one clip under one spatial crop.  ``FormatShape('NCTHW')`` lays
    views out crop by crop: view ``v`` is clip ``v % num_clips`` under crop
    ``v // num_clips``.  Audio follows the same order.
    """
    num_clips = results.get('num_clips', 1)
    imgs = results.get('imgs')
    if imgs is None or not len(imgs):
        return num_clips, 1
    if 'input_shape' in results:  # after FormatShape: (views, C, T, H, W)
        return num_clips, max(len(imgs) // num_clips, 1)
    return num_clips, max(len(imgs) // (num_clips * results['clip_len']), 1)
