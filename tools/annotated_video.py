# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A copy of a video with predictions written on it."""

from bisect import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ca2st_mm.datasets.transcode import Encoding, encode
from ca2st_mm.utils.percent import percent

_MARGIN = 0.4  # of a line's height
_BAND = 0, 0, 0, 160
_LINES = 3


class Caption(NamedTuple):
    """What is written on a span of a video."""

    centre: float  # second in the middle of the span
    lines: tuple[str, ...]


def caption_of(
    start: float | None,
    end: float | None,
    ranking: Sequence[tuple[str, float]],
) -> Caption:
    """The caption of a window, or of the whole video without a span.

    >>> caption_of(2.0, 4.0, [('run', 0.75)])
    Caption(centre=3.0, lines=('75.0 % run',))
    """
    centre = 0.0 if None in (start, end) else (start + end) / 2
    lines = [f'{percent(score)} {name}' for name, score in ranking[:_LINES]]
    return Caption(centre, tuple(lines) or ('?',))


def annotate(source: str, target: str, captions: Sequence[Caption]) -> None:
    """Write a video with captions; its audio is kept.

    A frame shows the caption whose centre is nearest, so that of overlapping
    spans each shows where it knows most.

    Raises:
        MediaError: If a file cannot be read or written; names it.
    """
    captions = sorted(captions)
    centres = np.array([caption.centre for caption in captions])
    bounds = ((centres[1:] + centres[:-1]) / 2).tolist()

    def paint(pixels: np.ndarray, second: float) -> np.ndarray:
        return write_lines(pixels, captions[bisect(bounds, second)].lines)

    encode(source, target, Encoding(), paint=paint)


def write_lines(pixels: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """A copy of an image (RGB) with lines on a dark band at its bottom.

    They are made smaller until the longest one fits.
    """
    image = Image.fromarray(pixels)
    width, height = image.size
    size = max(height / 18, 8.0)
    widest = max(map(ImageFont.load_default(size).getlength, lines))
    size *= min(1.0, 0.96 * width / max(widest, 1.0))
    font = ImageFont.load_default(size)
    step = size * (1 + _MARGIN)
    top = height - step * len(lines) - _MARGIN * size
    draw = ImageDraw.Draw(image, 'RGBA')
    draw.rectangle((0, top, width, height), fill=_BAND)
    for number, line in enumerate(lines):
        place = 0.02 * width, top + _MARGIN * size + number * step
        draw.text(place, line, fill='white', font=font)
    return np.array(image)
