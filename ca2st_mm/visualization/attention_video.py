# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Attention as it goes along: a small theatre with the sound of the clip."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.datasets.transcode import finished_or_nothing

from .attention_figure import Stage
from .attention_maps import AttentionMap
from .attention_scene import (
    Scene,
    mel_picture,
    paint,
    spread,
    strength,
)
from .style import FigureInputError

_FPS = 12
_BOX = 320, 240  # pixels of a panel: width, height
_CAPTION = 26
_BACK = 24


def write_theatre(
    maps: Sequence[AttentionMap], stage: Stage, path: str | Path
) -> None:
    """Write a video with a panel for each map.

    A panel of pictures shows the frame that the model read last and where it
    is looked at, by the mean over all queries; a panel of sound shows where
    the queries of the moment look (all of them, where they have no moment),
    with a line at the moment.  The sound is that of the file.

    Args:
        maps: One a panel, of any layers; those of experts whose grid is
            unknown are left out.
        stage: What they are drawn on.
        path: File to write (mp4, mkv).

    Raises:
        FigureInputError: If there is no panel or the times are unknown.
        MediaError: If the file cannot be written.
    """
    scene = stage.scene
    panels = [
        _SeenPictures(found, stage)
        if stage.grids[found.context].kind == 'picture'
        else _HeardSound(found, stage)
        for found in maps
        if stage.grids[found.context]
    ]
    if not panels:
        raise FigureInputError('there is no attention to show')
    start, end = _span(scene)
    moments = np.arange(start, end, 1 / _FPS)
    frames = np.stack([_tile([p.at(m) for p in panels]) for m in moments])
    sound = scene.sound
    with finished_or_nothing(str(path)) as part:
        if sound is None:
            write_clip(part, frames, _FPS)
        else:
            late = max(sound.start - start, 0.0)
            rate = sound.sample_rate
            write_clip(part, frames, _FPS, sound.waveform, rate, (0.0, late))


def _span(scene: Scene) -> tuple[float, float]:
    """From when to when there is something to see or to hear.

    Raises:
        FigureInputError: If neither is known.
    """
    ends = []
    if scene.seconds is not None:
        step = np.diff(scene.seconds).max() if len(scene.seconds) > 1 else 1.0
        ends.append((scene.seconds[0], scene.seconds[-1] + step))
    if scene.sound is not None:
        sound = scene.sound
        length = len(sound.waveform) / sound.sample_rate
        ends.append((sound.start, sound.start + length))
    if not ends:
        raise FigureInputError(
            'the times of the clip are unknown, so it cannot be shown as a '
            'video; open it with OpenVideo in the config'
        )
    return min(a for a, _ in ends), max(b for _, b in ends)


class _SeenPictures:
    """Frames, coloured where a map looks."""

    def __init__(self, found: AttentionMap, stage: Stage) -> None:
        heat = found.heat().numpy()
        self.scene, self.steps = stage.scene, len(heat)
        self.caption = _caption(found)
        strong, grid = strength(heat), stage.grids[found.context]
        self.painted = []
        for number, frame in enumerate(stage.scene.frames):
            step = number * len(heat) // len(stage.scene.frames)
            over = spread(heat[step], grid, frame.shape[:2])
            self.painted.append(paint(frame, over, strong))

    def at(self, second: float) -> np.ndarray:
        """The panel at a moment."""
        number = 0
        if self.scene.seconds is not None:
            passed = np.searchsorted(self.scene.seconds, second, 'right')
            number = max(int(passed) - 1, 0)
        return _panel(self.painted[number], self.caption, None)


class _HeardSound:
    """A spectrogram, coloured where the queries of the moment look."""

    def __init__(self, found: AttentionMap, stage: Stage) -> None:
        self.scene, self.caption = stage.scene, _caption(found)
        grid, count = stage.grids[found.context], found.query_spec.num_steps
        picture = mel_picture(self.scene.mels)
        heats = [found.heat().numpy()]
        self.times = None
        if count > 1 and self.scene.seconds is not None:
            heats = [found.heat([step]).numpy() for step in range(count)]
            self.times = [
                self.scene.time_of(step, count) for step in range(count)
            ]
        strong = max(map(strength, heats))
        self.painted = [
            paint(picture, spread(heat[0], grid, picture.shape[:2]), strong)[
                ::-1
            ]
            for heat in heats
        ]

    def at(self, second: float) -> np.ndarray:
        """The panel at a moment."""
        number = 0
        if self.times is not None:
            number = int(np.abs(np.subtract(self.times, second)).argmin())
        place = None
        if self.scene.window:
            start, end = self.scene.window
            place = (second - start) / (end - start)
        return _panel(self.painted[number], self.caption, place)


def _caption(found: AttentionMap) -> str:
    whom = 'itself' if found.query == found.context else found.context
    return f'{found.query} looks at {whom}, layer {found.layer}'


def _panel(
    pixels: np.ndarray, caption: str, place: float | None
) -> np.ndarray:
    """A box with a caption; sound fills it, pictures keep their shape."""
    width, height = _BOX
    box = Image.new('RGB', (width, height + _CAPTION), (_BACK,) * 3)
    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    size = [round(side * scale) for side in (pixels.shape[1], pixels.shape[0])]
    if place is not None:
        size = [width, height]
    shown = Image.fromarray(np.ascontiguousarray(pixels)).resize(size)
    left = (width - size[0]) // 2
    box.paste(shown, (left, _CAPTION))
    draw = ImageDraw.Draw(box)
    draw.text((6, 6), caption, (255,) * 3, ImageFont.load_default(13))
    if place is not None and 0 <= place <= 1:
        x = round(place * (width - 1))
        draw.line((x, _CAPTION, x, height + _CAPTION), (255,) * 3)
    return np.asarray(box)


def _tile(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Panels in rows of three, the last one filled up."""
    columns = min(len(panels), 3)
    empty = np.full_like(panels[0], _BACK)
    full = [*panels, *[empty] * (-len(panels) % columns)]
    rows = [
        np.concatenate(full[first : first + columns], axis=1)
        for first in range(0, len(full), columns)
    ]
    return np.concatenate(rows)
