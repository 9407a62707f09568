# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Opening and decoding videos, and the times of the sampled frames."""

import io
from typing import Dict, Optional

import decord
import numpy as np
from av.error import FFmpegError
from mmaction.datasets.transforms import DecordDecode, DecordInit
from mmcv.transforms import BaseTransform
from mmengine.fileio import get

from ca2st_mm.datasets.media import MediaError, read_frame_stamps
from ca2st_mm.datasets.transforms.views import count_views
from ca2st_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class OpenVideo(DecordInit):
    """MMAction2's ``DecordInit`` with time stamps, clip bounds and manners.

    Beyond ``DecordInit`` it reads the presentation time of every frame and,
    where the sample has ``clip_start``/``clip_end``, narrows
    ``start_index`` and ``total_frames`` to the frames shown in that span,
    so every sampler of MMAction2 stays inside the clip.

    Required keys: ``filename``; optional ``clip_start``, ``clip_end``.
    Added keys: ``video_reader``, ``total_frames``, ``start_index``,
    ``avg_fps``, ``frame_stamps`` (float64 seconds on the container's
    clock of all frames of the file).

    Raises:
        MediaError: If the file cannot be read; names it.
        ValueError: If no frame is shown in the span of the clip.
    """

    def transform(self, results: Dict) -> Dict:
        """Open ``results['filename']``."""
        path = results['filename']
        try:
            data = get(path, backend_args=self._backend())
            reader = decord.VideoReader(
                io.BytesIO(data), num_threads=self.num_threads
            )
            fps = reader.get_avg_fps()
            stamps = read_frame_stamps(io.BytesIO(data), len(reader), fps)
        except (
            decord.DECORDError,
            FFmpegError,
            OSError,
            RuntimeError,
            IndexError,
        ) as error:
            raise MediaError('video', path, _cause(error)) from error
        if not len(stamps):
            raise MediaError('video', path, 'it has no frame')
        results.update(
            video_reader=reader,
            avg_fps=fps,
            frame_stamps=stamps,
            start_index=0,
            total_frames=len(stamps),
        )
        _narrow(results)
        return results

    def _backend(self) -> Optional[Dict]:
        """``DecordInit``'s arguments in the words of MMEngine's fileio."""
        if self.io_backend == 'disk':
            return None
        return dict(backend=self.io_backend, **self.kwargs)


def _narrow(results: Dict) -> None:
    """Keep the frames with clip_start <= time < clip_end."""
    start, end = results.get('clip_start'), results.get('clip_end')
    if start is None and end is None:
        return
    stamps = results['frame_stamps']
    # Annotated times are rounded; a frame that starts a hair early counts.
    slack = 1e-3
    low = 0 if start is None else np.searchsorted(stamps, start - slack)
    high = len(stamps) if end is None else np.searchsorted(stamps, end - slack)
    if high <= low:
        raise ValueError(
            f"The clip from {start} s to {end} s of '{results['filename']}' "
            f'holds no frame: the video runs from {stamps[0]:.3f} s to '
            f'{stamps[-1]:.3f} s. Correct its line in the annotation file.'
        )
    results['start_index'] = int(low)
    results['total_frames'] = int(high - low)


def _cause(error: Exception) -> str:
    """The telling part of decord's multi-line C++ messages."""
    text = str(error).strip() or type(error).__name__
    if 'size must exactly match' in text:
        return (
            'decord 0.6 cannot decode pictures of this width (a fault with '
            'some widths up to 48 pixels); re-encode it wider'
        )
    return text.split('Stack trace')[0].rsplit('] ', maxsplit=1)[-1]


@TRANSFORMS.register_module()
class DecodeVideo(DecordDecode):
    """MMAction2's ``DecordDecode``; a corrupt file names itself.

    Raises:
        MediaError: If the frames cannot be decoded.
    """

    def transform(self, results: Dict) -> Dict:
        """Decode ``results['frame_inds']``."""
        try:
            return super().transform(results)
        except (decord.DECORDError, RuntimeError, IndexError) as error:
            path = results['filename']
            raise MediaError('video', path, _cause(error)) from error


@TRANSFORMS.register_module()
class FrameTimes(BaseTransform):
    """Write when the sampled frames are shown.

    Place it after spatial crops (``ThreeCrop``), so that every view gets
    its times, and before sound is cut.

    Required keys: ``frame_inds``, ``frame_stamps`` (from
    :class:`OpenVideo`), ``num_clips``, ``clip_len``.
    Added keys: ``imgs_times``, float32 seconds (num_views, clip_len);
    ``time_origin``, where on the container's clock their zero lies.

    Args:
        origin: ``'file'``: zero is the container's zero; ``'clip'``: zero
            is ``clip_start``, so clips cut out of a long file get the
            same small numbers as trimmed files.
    """

    def __init__(self, origin: str = 'file') -> None:
        if origin not in ('file', 'clip'):
            raise ValueError(f"origin is 'file' or 'clip', not {origin!r}.")
        self.origin = origin

    def transform(self, results: Dict) -> Dict:
        """Look up the stamps of ``frame_inds``."""
        if 'frame_stamps' not in results:
            raise KeyError(
                'FrameTimes needs the time stamps of the frames: open the '
                "video with dict(type='OpenVideo') instead of DecordInit."
            )
        zero = 0.0
        if self.origin == 'clip':
            zero = results.get('clip_start') or 0.0
        num_clips, num_crops = count_views(results)
        times = results['frame_stamps'][np.ravel(results['frame_inds'])]
        times = (times - zero).reshape(num_clips, results['clip_len'])
        results['imgs_times'] = np.tile(times, (num_crops, 1)).astype(
            np.float32
        )
        results['time_origin'] = zero
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(origin={self.origin!r})'
