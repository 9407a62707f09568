# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A few frames of a clip, to look at."""

from typing import NamedTuple

import numpy as np

from ca2st_mm.datasets.readers.base import Source
from ca2st_mm.datasets.readers.choose import choose_reader, open_video


class Pictures(NamedTuple):
    """Frames and when they are shown.

    Attributes:
        frames: RGB uint8, (num, height, width, 3).
        seconds: On the container's clock, (num,).
    """

    frames: np.ndarray
    seconds: np.ndarray


def read_pictures(
    path: str,
    count: int,
    span: tuple[float | None, float | None] = (None, None),
) -> Pictures:
    """Evenly spaced frames, the middle of each part.

    Args:
        path: The video.
        count: How many.
        span: First and last second of the clip in an untrimmed file.

    Raises:
        MediaError: If the file cannot be read; names it.
    """
    reader = open_video(Source(path), choose_reader('auto'), span=span)
    try:
        stamps = reader.frame_stamps
        start = stamps[0] if span[0] is None else span[0]
        end = stamps[-1] if span[1] is None else span[1]
        places = start + (np.arange(count) + 0.5) / count * (end - start)
        indices = np.abs(stamps[:, None] - places).argmin(axis=0)
        return Pictures(reader.read(indices), stamps[indices])
    finally:
        reader.close()
