# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The views of the authors' code: which frames, and which squares of them.

MMAction2's ``UniformSample``, ``SampleFrames``, ``Resize`` and crops work
too; these exist because published numbers depend on the exact indices.
"""

import cv2
import numpy as np

from ca2st_mm.registry import TRANSFORMS

from .base import Transform
from .video_loading import OpenVideo


@TRANSFORMS.register_module()
class OpenShareOfVideo(OpenVideo):
    """Finds a clip in a long file as the authors' code for ActivityNet does.

    Of N frames in d seconds, the clip from second s to e has the frames
    ``int(s / d * (N - 1))`` up to and without ``int(e / d * (N - 1))``,
    whatever their times, where :class:`OpenVideo` has those shown in that
    span.  The whole file is opened.  The authors take d from the annotation
    file; here it is that of the video.

    >>> clip = dict(filename='clip.mp4', clip_start=0.5, clip_end=1.5)
    >>> clip = OpenShareOfVideo()(clip)
    >>> clip['start_index'], clip['total_frames']
    (3, 8)
    >>> clip['video_reader'].close()
    """

    def transform(self, results: dict) -> dict:
        """Open ``results['filename']``."""
        span = {key: results.get(key) for key in ('clip_start', 'clip_end')}
        if None in span.values() or results.get('video_reader'):
            return super().transform(results)
        # Into ``results``: whoever made them closes the reader.
        results.update(dict.fromkeys(span))
        super().transform(results)
        last = results['total_frames'] - 1
        seconds = results['total_frames'] / results['avg_fps']
        first, stop = (
            int(min(round(second / seconds, 5), 1) * last)
            for second in span.values()
        )
        results['start_index'] += first
        results['total_frames'] = max(stop - first, 1)
        results.update(span)
        return results


class _Sampler(Transform):
    """Base class: asks for indices and writes MMAction2's keys."""

    def __init__(
        self, clip_len: int, num_clips: int = 1, test_mode: bool = False
    ) -> None:
        if num_clips > 1 and not test_mode:
            raise ValueError('Several clips are for test_mode=True only.')
        self.clip_len = clip_len
        self.num_clips = num_clips
        self.test_mode = test_mode

    def transform(self, results: dict) -> dict:
        """Add ``frame_inds`` (num_clips * clip_len,) and related keys."""
        total = results['total_frames']
        draw = self.fixed if self.test_mode else self.random
        inds = np.asarray(draw(total)).reshape(-1)
        inds = np.clip(inds, 0, total - 1) + results['start_index']
        results['frame_inds'] = inds.astype(np.int32)
        results['clip_len'] = self.clip_len
        results['frame_interval'] = None
        results['num_clips'] = self.num_clips
        return results


@TRANSFORMS.register_module()
class SegmentSample(_Sampler):
    """One frame from each of ``clip_len`` equal segments.

    Training (and, in the authors' code, validation) draws a random frame of
    each segment.  In test mode clip ``k`` of ``K`` takes the frame at
    ``k / K`` of every segment: with two clips, the segments' starts and
    their centres.

    Args:
        clip_len: Frames of a clip, one a segment.
        num_clips: Clips of a video; more than one only in test mode.
        test_mode: Whether to choose fixed frames.
        rule: How training cuts segments. ``'even'``: they cover the video,
            and one shorter than ``clip_len`` repeats frames evenly.
            ``'reference'``, for an exact retraining: segments have a whole
            number of frames, so up to ``clip_len - 1`` frames at the end
            are never seen, and a too short video gives copies of its first
            frame.

    Raises:
        ValueError: If ``rule`` is unknown or a random sample is to have
            several clips.
    """

    def __init__(
        self,
        clip_len: int,
        num_clips: int = 1,
        test_mode: bool = False,
        rule: str = 'even',
    ) -> None:
        super().__init__(clip_len, num_clips, test_mode)
        if rule not in ('even', 'reference'):
            raise ValueError(f"rule is 'even' or 'reference', not {rule!r}.")
        self.rule = rule

    def random(self, total: int) -> np.ndarray:
        """Training indices for a video of ``total`` frames."""
        steps = np.arange(self.clip_len + 1)
        if self.rule == 'even':
            bounds = steps * total // self.clip_len
        else:
            bounds = steps * (total // self.clip_len)
        low, high = bounds[:-1], bounds[1:]
        return np.random.randint(low, np.maximum(high, low + 1))

    def fixed(self, total: int) -> np.ndarray:
        """Test indices, (num_clips, clip_len)."""
        length = total / self.clip_len  # of a segment, frames
        offsets = np.arange(self.num_clips)[:, None] / self.num_clips
        return np.floor(length * (np.arange(self.clip_len) + offsets))


@TRANSFORMS.register_module()
class DenseSample(_Sampler):
    """A window of neighbouring frames: 16 out of 64 by default.

    Training spreads ``clip_len`` frames over a random window of
    ``clip_len * interval`` frames (both ends included before clipping, so
    the spacing is a little more than ``interval``).  In test mode every
    ``interval``-th frame of the video is taken and clips are spread over
    that list.  Too short videos repeat their last frame.

    Args:
        clip_len: Frames of a clip.
        num_clips: Clips of a video; more than one only in test mode.
        test_mode: Whether to choose fixed frames.
        interval: Frames between two sampled ones.
    """

    def __init__(
        self,
        clip_len: int,
        num_clips: int = 1,
        test_mode: bool = False,
        interval: int = 4,
    ) -> None:
        super().__init__(clip_len, num_clips, test_mode)
        self.interval = interval

    def random(self, total: int) -> np.ndarray:
        """Training indices for a video of ``total`` frames."""
        window = self.clip_len * self.interval
        if total > window:
            end = np.random.randint(window, total)
            inds = np.linspace(end - window, end, self.clip_len).astype(int)
            return np.minimum(inds, end - 1)
        inds = np.linspace(0, total, total // self.interval).astype(int)
        missing = self.clip_len - len(inds)
        return np.append(inds, np.full(missing, total))

    def fixed(self, total: int) -> np.ndarray:
        """Test indices, (num_clips, clip_len)."""
        strided = np.arange(0, total, self.interval)
        missing = max(self.clip_len - len(strided), 0)
        strided = np.append(strided, np.full(missing, strided[-1]))
        last = len(strided) - self.clip_len  # start of the last clip
        spacing = last / max(self.num_clips - 1, 1)
        starts = (np.arange(self.num_clips) * spacing).astype(int)
        return strided[starts[:, None] + np.arange(self.clip_len)]


@TRANSFORMS.register_module()
class ShortSideCrops(Transform):
    """Resize the short side to ``size``, then cut squares along the long one.

    A part of a pixel of the long side is cut off, as by torchvision and the
    authors' code; MMAction2's ``Resize`` rounds, which moves its crops by up
    to one pixel.

    Required and changed keys: ``imgs`` (crop by crop), ``img_shape``.

    Args:
        size: Pixels of a side.
        num_crops: 1, the middle one; or 3 in the order of MMAction2's
            ``ThreeCrop``: first, last, middle.

    >>> crops = ShortSideCrops(size=4, num_crops=3)
    >>> len(crops(dict(imgs=[np.zeros((8, 12, 3), np.uint8)]))['imgs'])
    3
    """

    def __init__(self, size: int, num_crops: int = 1) -> None:
        if num_crops not in (1, 3):
            raise ValueError(f'num_crops is 1 or 3, not {num_crops!r}.')
        self.size = size
        self.num_crops = num_crops

    def transform(self, results: dict) -> dict:
        """Crop ``results['imgs']``."""
        height, width = results['imgs'][0].shape[:2]
        long = self.size * max(height, width) // min(height, width)
        flat = width > height
        shape = (long, self.size) if flat else (self.size, long)
        frames = [cv2.resize(frame, shape) for frame in results['imgs']]
        last = long - self.size
        starts = [last // 2] if self.num_crops == 1 else [0, last, last // 2]
        results['imgs'] = [
            frame[:, start : start + self.size]
            if flat
            else frame[start : start + self.size]
            for start in starts
            for frame in frames
        ]
        results['img_shape'] = (self.size, self.size)
        return results
