# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a model was given of a file: the ground that attention is drawn on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps

from ca2st_mm.datasets.audio import Audio, read_audio
from ca2st_mm.datasets.containers import has_audio
from ca2st_mm.models.layers.tokens import TokenGrid
from ca2st_mm.structures import Stream, as_streams

from .style import HEAT

# Heat of this many times an even look is drawn at full strength, or the
# largest, whichever is more, so that next to nothing does not glow.
_STRONG = 2.0
_OPAQUE = 0.8
# From one frame of a spectrogram to the next (LogMelSpectrogram).
_FRAME_SECONDS = 0.01


@dataclass(frozen=True)
class Scene:
    """One view of a clip, as the model reads it.

    Attributes:
        frames: RGB uint8, (F, height, width, 3); None without pictures.
        seconds: When the frames are shown, (F,), on the file's clock.
        mels: Spectrogram, (frames, bands); None without sound.
        window: First and last second of the spectrogram, padding included;
            None if unknown.
        sound: The file's own sound in that window, or while the frames are
            shown; None if there is none.
    """

    frames: np.ndarray | None
    seconds: np.ndarray | None
    mels: np.ndarray | None
    window: tuple[float, float] | None
    sound: Audio | None

    def frame_of(self, step: int, num_steps: int) -> int:
        """The frame that stands for a step: the last of it."""
        return (step + 1) * len(self.frames) // num_steps - 1

    def time_of(self, step: int, num_steps: int) -> float | None:
        """Second at which that frame is shown; None if unknown."""
        if self.seconds is None:
            return None
        return float(self.seconds[self.frame_of(step, num_steps)])


def scene_of(sample: Mapping[str, Any], view: int) -> Scene:
    """Take what one view of a prepared sample shows and sounds.

    Args:
        sample: Of ``Recognizer.prepare``.
        view: Which.
    """
    inputs, info = as_streams(sample['inputs']), sample['data_samples']
    frames = seconds = mels = None
    if 'imgs' in inputs:
        frames = inputs['imgs'].values[view].permute(1, 2, 3, 0).numpy()
        if info.views.seconds is not None:
            # Views are crops of clips, the clips running fastest.
            seconds = info.views.seconds[view % len(info.views.seconds)]
    window = None
    if 'audios' in inputs:
        mels = inputs['audios'].values[view, 0].numpy()
        window = _window(inputs, seconds, info.views.audio, view)
    sound, span = None, window or _shown(seconds)
    if span and has_audio(info.source):
        sound = read_audio(info.source, max(span[0], 0.0), span[1])
    return Scene(frames, seconds, mels, window, sound)


def _shown(seconds: np.ndarray | None) -> tuple[float, float] | None:
    """From the first frame to the end of the last."""
    if seconds is None or len(seconds) < 2:
        return None
    return float(seconds[0]), float(2 * seconds[-1] - seconds[-2])


def _window(
    inputs: Mapping[str, Stream],
    seconds: np.ndarray | None,
    heard: np.ndarray | None,
    view: int,
) -> tuple[float, float] | None:
    """The window of a view on the file's clock, padding included.

    The times that a model is given have a zero of their own, which the frames
    tell.  Without such times, a window that was heard from end to end is as
    long as its spectrogram; any other is unknown.
    """
    times = [
        inputs[name].times if name in inputs else None
        for name in ('imgs', 'audios')
    ]
    if seconds is not None and all(part is not None for part in times):
        zero = seconds[0] - float(times[0][view, 0])
        start, end = times[1][view].double().tolist()
        return start + zero, end + zero
    if heard is None or len(heard) != 1:
        return None
    start, end = map(float, heard[0])
    spoken = inputs['audios'].values.shape[-2] * _FRAME_SECONDS
    return (start, end) if end - start > spoken - _FRAME_SECONDS else None


def spread(heat: np.ndarray, grid: TokenGrid, shape: tuple) -> np.ndarray:
    """Lay the heat of positions over the input, smooth between centres.

    Args:
        heat: Of the positions of one step, (rows * columns,).
        grid: Where they lie.
        shape: Height and width of the input.

    Returns:
        float32, (height, width); 0 outside of the patches' centres by more
        than half a stride.
    """
    cells = np.asarray(heat, np.float32).reshape(grid.rows, grid.columns)
    size = grid.columns * grid.stride, grid.rows * grid.stride
    filled = cv2.resize(cells, size, interpolation=cv2.INTER_LINEAR)
    first = (grid.patch - grid.stride) // 2
    canvas = np.zeros(shape, np.float32)
    part = canvas[first : first + size[1], first : first + size[0]]
    part[...] = filled[: part.shape[0], : part.shape[1]]
    return canvas


def strength(heat: np.ndarray) -> float:
    """The heat that is drawn at full strength."""
    return max(_STRONG, float(np.max(heat)))


def paint(picture: np.ndarray, heat: np.ndarray, strong: float) -> np.ndarray:
    """Colour a picture where it is looked at more than evenly.

    Args:
        picture: RGB uint8, (height, width, 3).
        heat: (height, width).
        strong: Heat at full strength.

    Returns:
        RGB uint8, (height, width, 3).
    """
    level = np.clip((heat - 1) / (strong - 1), 0, 1)[..., None]
    # The dark end of the scale would pass for shadow.
    colour = 255 * colormaps[HEAT](0.4 + 0.6 * level[..., 0])[..., :3]
    # Half grey, so that a coloured scene does not pass for heat.
    grey = picture.mean(axis=2, keepdims=True)
    base = 0.35 * picture + 0.35 * grey
    mixed = base * (1 - _OPAQUE * level) + colour * _OPAQUE * level
    return mixed.round().astype(np.uint8)


def mel_picture(mels: np.ndarray) -> np.ndarray:
    """A grey picture of a spectrogram, low bands in the first row.

    Args:
        mels: (frames, bands).

    Returns:
        RGB uint8, (bands, frames, 3).
    """
    low, high = np.percentile(mels, (1, 99.5))
    level = np.clip((mels.T - low) / max(high - low, 1e-6), 0, 1)
    return np.repeat((255 * level).astype(np.uint8)[..., None], 3, axis=2)
