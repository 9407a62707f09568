# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A figure of who looks where: a row for each layer over the input."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Rectangle

from ca2st_mm.models.layers.tokens import TokenGrid

from .attention_maps import AttentionMap
from .attention_scene import (
    Scene,
    mel_picture,
    paint,
    spread,
    strength,
)
from .style import HEAT, TEAL, new_figure

_AXES = dict(
    time='the same place at any moment',
    space='the same moment at any place',
    all='any moment and place',
)
_SHOWN = 8  # most steps side by side


@dataclass(frozen=True)
class Query:
    """Which tokens ask.

    Attributes:
        steps: Their time steps; None for all.
        positions: Their positions; None for all.
        text: What they are, in words.
    """

    steps: Sequence[int] | None = None
    positions: Sequence[int] | None = None
    text: str = 'mean over all queries'


@dataclass(frozen=True)
class Stage:
    """What the rows of a figure have in common.

    Attributes:
        scene: What the model was given.
        grids: Grid of each expert; None where it is unknown.
    """

    scene: Scene
    grids: dict[str, TokenGrid | None]


def draw_attention(
    maps: Sequence[AttentionMap], stage: Stage, query: Query
) -> Figure:
    """Draw one direction of a link, or one self-attention, in all layers.

    The first row is what the model was given, then a row for each layer;
    colour is attention, from an even look to ``strength`` times that (the
    largest number stands beside the row).  At the right, where moments can
    see other moments, which moment looks at which.

    Args:
        maps: Of one name, by layer.
        stage: What they are drawn on.
        query: Which tokens ask.
    """
    first = maps[0]
    grid = stage.grids[first.context]
    kind = grid.kind if grid else 'unknown'
    steps = _shown_steps(first.context_spec.num_steps)
    columns = len(steps) if kind == 'picture' else 1
    times = [_over_time(m, grid) for m in maps]
    waves = kind == 'spectrogram' and stage.scene.sound is not None
    heights = [1.3] * (1 + len(maps)) + [0.7] * waves
    widths = [1.3] * columns if kind == 'picture' else [7.0]
    widths += [1.7] * (times[0] is not None)
    figure = new_figure(sum(widths) + 1.0, sum(heights) + 1.0)
    cells = figure.add_gridspec(
        len(heights), len(widths), height_ratios=heights, width_ratios=widths
    )
    row = _Row(figure, cells, stage, first, steps)
    row.plain(0, query)
    for number, (found, matrix) in enumerate(zip(maps, times, strict=True), 1):
        heat = found.heat(query.steps, query.positions).numpy()
        row.heat(number, found.layer, heat)
        if matrix is not None:
            _matrix(figure.add_subplot(cells[number, -1]), matrix)
    if waves:
        _wave(figure.add_subplot(cells[-1, 0]), stage.scene)
    figure.suptitle(_title(first, query), fontsize=10)
    return figure


def _title(found: AttentionMap, query: Query) -> str:
    ends = f'{found.query} looks at {found.context}'
    if found.query == found.context:
        ends = f'{found.query} looks at itself'
        if query == Query() and found.extra:
            query = Query(text='queries: the class tokens')
    return f'{ends}: {_AXES[found.axis]} ({query.text})'


def _shown_steps(count: int) -> list[int]:
    if count <= _SHOWN:
        return list(range(count))
    return np.linspace(0, count - 1, _SHOWN).round().astype(int).tolist()


def _over_time(
    found: AttentionMap, grid: TokenGrid | None
) -> np.ndarray | None:
    inside = grid.columns if grid and grid.kind == 'spectrogram' else None
    rows = found.over_time(inside)
    return None if rows is None else rows.numpy()


@dataclass(frozen=True)
class _Row:
    """Draws the context of a link in one row of a figure."""

    figure: Figure
    cells: GridSpec
    stage: Stage
    found: AttentionMap
    steps: Sequence[int]

    def plain(self, number: int, query: Query) -> None:
        """What the model was given, the asking patch framed."""
        scene, grid = self.stage.scene, self.stage.grids[self.found.context]
        if grid and grid.kind == 'picture':
            for axes, step in self._pictures(number):
                count = self.found.context_spec.num_steps
                axes.imshow(scene.frames[scene.frame_of(step, count)])
                second = scene.time_of(step, count)
                name = f'step {step}' if second is None else f'{second:.2f} s'
                axes.set_title(name, fontsize=8)
                if query.steps is None or step in query.steps:
                    self._mark(axes, query)
        elif grid:
            axes = self.figure.add_subplot(self.cells[number, 0])
            _spectrogram(axes, mel_picture(scene.mels), scene)

    def heat(self, number: int, layer: int, heat: np.ndarray) -> None:
        """The input, coloured where it is looked at."""
        scene, grid = self.stage.scene, self.stage.grids[self.found.context]
        strong = strength(heat)
        label = f'layer {layer}\nup to {heat.max():.1f}×'
        if grid is None:
            axes = self.figure.add_subplot(self.cells[number, 0])
            axes.imshow(heat, aspect='auto', cmap=HEAT, vmin=1, vmax=strong)
            axes.set_xlabel('position', fontsize=8)
        elif grid.kind == 'picture':
            count = self.found.context_spec.num_steps
            for axes, step in self._pictures(number):
                picture = scene.frames[scene.frame_of(step, count)]
                over = spread(heat[step], grid, picture.shape[:2])
                axes.imshow(paint(picture, over, strong))
            axes = self.figure.axes[-len(self.steps)]
        else:
            axes = self.figure.add_subplot(self.cells[number, 0])
            picture = mel_picture(scene.mels)
            over = spread(heat[0], grid, picture.shape[:2])
            _spectrogram(axes, paint(picture, over, strong), scene)
        axes.set_ylabel(label, fontsize=8, rotation=0, ha='right', va='center')

    def _mark(self, axes: Axes, query: Query) -> None:
        grid = self.stage.grids[self.found.query]
        if grid is None or grid.kind != 'picture' or not query.positions:
            return
        for position in query.positions:
            row, column = divmod(position, grid.columns)
            corner = column * grid.stride - 0.5, row * grid.stride - 0.5
            axes.add_patch(
                Rectangle(
                    corner, grid.patch, grid.patch, fill=False, ec='white'
                )
            )

    def _pictures(self, number: int):
        for column, step in enumerate(self.steps):
            axes = self.figure.add_subplot(self.cells[number, column])
            axes.set(xticks=[], yticks=[])
            yield axes, step


def _spectrogram(axes: Axes, picture: np.ndarray, scene: Scene) -> None:
    bands, frames = picture.shape[:2]
    start, end = scene.window or (0, frames)
    axes.imshow(
        picture, origin='lower', aspect='auto', extent=(start, end, 0, bands)
    )
    axes.tick_params(labelsize=7)
    axes.set_yticks([])
    axes.yaxis.set_label_coords(-0.01, 0.5)
    if scene.window is None:
        axes.set_xlabel('spectrogram frame', fontsize=7)


def _wave(axes: Axes, scene: Scene) -> None:
    sound = scene.sound
    times = sound.start + np.arange(len(sound.waveform)) / sound.sample_rate
    axes.plot(times, sound.waveform, color=TEAL, lw=0.4)
    axes.set_xlim(scene.window)
    axes.set_yticks([])
    axes.tick_params(labelsize=7)
    axes.set_xlabel('seconds', fontsize=8)


def _matrix(axes: Axes, rows: np.ndarray) -> None:
    even = rows * rows.shape[1]
    axes.imshow(even, aspect='auto', cmap=HEAT, vmin=1, vmax=strength(even))
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel('seen moment →', fontsize=7)
    axes.set_ylabel('← asking moment', fontsize=7)
