# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Figures of the attention of a multi-expert model on a clip."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ca2st_mm.models.layers.tokens import TokenGrid, TokenSpec

from .attention_maps import Attention, AttentionMap, ClipView
from .style import COLORMAP, TEAL, FigureInputError, new_figure

_AXES = dict(
    time='the same patch at any time',
    space='any patch at the same time',
    all='any patch at any time',
)
_SHOWN = 8  # most time steps side by side
# Attention of this many times uniform is drawn at full strength, or nearly the
# largest, whichever is more, so that next to nothing does not glow.
_STRONG = 1.25
_LARGEST = 99.5  # percentile; single patches would leave the others dark
# Below 1: weaker attention is seen next to the strongest.
_GAMMA = 0.6
_OPAQUE = 0.9
_LEGEND = (
    'even (1×) or less',
    'more',
    'much more',
    'largest of the row (1.25× or more)',
)


class Point(NamedTuple):
    """Where the queries lie; what is None is averaged over.

    Attributes:
        second: Moment on the file's clock: the nearest time step of experts
            that see frames, all mel bands at that time of a spectrogram.
        patch: Row and column of a patch of the frames, from the upper left.
    """

    second: float | None = None
    patch: tuple[int, int] | None = None


class Query(NamedTuple):
    """Which tokens are the queries.

    Attributes:
        steps: Their time steps; None for all.
        patches: Their patches inside a step; None for all.
        text: What they are, in words.
    """

    steps: Sequence[int] | None = None
    patches: Sequence[int] | None = None
    text: str = 'mean over all queries'


def query_of(
    point: Point, spec: TokenSpec, grid: TokenGrid | None, view: ClipView
) -> Query:
    """The tokens of an expert that lie at a point; all if the grid is unknown.

    Raises:
        FigureInputError: If the point lies outside, or the times of the
            input are unknown.
    """
    second, patch = point
    if grid is None or point == Point():
        return Query()
    if grid.kind == 'spectrogram':
        if second is None:
            return Query()
        column = _column(second, grid, view)
        patches = range(column, grid.rows * grid.columns, grid.columns)
        text = f'queries: all bands at {second:.2f} s'
        return Query(None, list(patches), text)
    steps = patches = None
    said = []
    if patch is not None:
        row, column = patch
        if not (0 <= row < grid.rows and 0 <= column < grid.columns):
            raise FigureInputError(
                f'there is no patch {row},{column}; rows are 0 to '
                f'{grid.rows - 1} and columns 0 to {grid.columns - 1}'
            )
        patches = [row * grid.columns + column]
        said.append(f'patch {row},{column}')
    if second is not None:
        step = _step(second, spec.num_steps, view)
        steps = [step]
        said.append(f'{view.time_of(step, spec.num_steps):.2f} s')
    return Query(steps, patches, f'queries: {" at ".join(said)}')


def _step(second: float, num_steps: int, view: ClipView) -> int:
    times = view.seconds
    if times is None:
        raise FigureInputError(
            'the times of the frames are unknown; open the video with '
            'OpenVideo in the config, or leave the moment out'
        )
    slack = np.diff(times).max() if len(times) > 1 else 0.5
    if not times[0] - slack <= second <= times[-1] + slack:
        raise FigureInputError(
            f'{second} s is outside of the frames of this view, '
            f'{times[0]:.2f} to {times[-1]:.2f} s'
        )
    shown = [view.time_of(step, num_steps) for step in range(num_steps)]
    return int(np.abs(np.subtract(shown, second)).argmin())


def _column(second: float, grid: TokenGrid, view: ClipView) -> int:
    if view.window is None:
        raise FigureInputError(
            'the window of the audio is unknown; add FrameTimes to the '
            'pipeline of the config, or leave the moment out'
        )
    start, end = view.window
    if not start <= second <= end:
        raise FigureInputError(
            f'{second} s is outside of the audio of this view, {start:.2f} '
            f'to {end:.2f} s'
        )
    frame = (second - start) / (end - start) * len(view.mels)
    column = round((frame - grid.patch / 2) / grid.stride)
    return min(max(column, 0), grid.columns - 1)


def draw_views(
    attention: Attention, point: Point | None = None
) -> dict[str, Figure]:
    """Figures of all links and of self-attention, by name.

    Args:
        attention: Of :func:`~.attention_maps.read_attention`.
        point: Where the queries lie; None for the mean over all.

    Returns:
        ``spatial_from_audio``: what the spatial expert attends to in the
        audio, and so on; ``spatial_self``: in its own input.

    Raises:
        FigureInputError: See :func:`query_of`.
    """
    figures = {}
    for name, maps in attention.maps.items():
        spec, grid = maps[0].query_spec, attention.grids[maps[0].query]
        query = query_of(point or Point(), spec, grid, attention.view)
        figures[name] = draw_attention(maps, attention, query)
    return figures


def draw_attention(
    maps: Sequence[AttentionMap], attention: Attention, query: Query
) -> Figure:
    """Draw one direction of a link, or one self-attention, in all layers.

    The first row is the input, then a row for each layer; colour is
    attention, from uniform to ``strength`` times that (the largest number is
    next to the row, what the colours mean below).  At the right, which time
    step attends to which.  ``maps`` are those of one name.
    """
    first, view = maps[0], attention.view
    grid, num_steps = attention.grids[first.key], first.key_spec.num_steps
    spectrogram = grid is not None and grid.kind == 'spectrogram'
    steps = [0]
    if grid and not spectrogram:
        count = min(num_steps, _SHOWN)
        steps = np.linspace(0, num_steps - 1, count).round().astype(int)
    inside = grid.columns if spectrogram else None
    matrices = [found.over_time(inside) for found in maps]
    wave = spectrogram and view.audio is not None
    heights = [1.3] * (len(maps) + bool(grid)) + [0.7] * wave
    widths = [7.0 if spectrogram or not grid else 1.3 * len(steps)]
    widths += [1.7] * (matrices[0] is not None)
    figure = new_figure(sum(widths) + 1.0, sum(heights) + 1.4)
    cells = figure.add_gridspec(
        len(heights), len(widths), height_ratios=heights, width_ratios=widths
    )
    for number, found in enumerate([None, *maps] if grid else maps):
        relative = found and found.relative(query.steps, query.patches).numpy()
        axes = figure.add_subplot(cells[number, 0])
        if found is not None:
            axes.set_ylabel(
                f'layer {found.layer}\nup to {relative.max():.1f}×',
                fontsize=8,
                rotation=0,
                ha='right',
                va='center',
            )
        if grid is None:
            axes.imshow(painted_rows(relative), aspect='auto')
            axes.set_xlabel('patch', fontsize=8)
        elif spectrogram:
            _draw_spectrogram(axes, view, relative, grid)
        else:
            width = _draw_frames(axes, view, relative, grid, steps, num_steps)
        if found is None:
            if not spectrogram:
                _mark(axes, query, attention.grids[first.query], steps, width)
        elif matrices[0] is not None:
            # The input has no matrix next to it.
            rows = matrices[number - bool(grid)].numpy()
            _draw_matrix(figure.add_subplot(cells[number, -1]), rows)
    if wave:
        _draw_wave(figure.add_subplot(cells[-1, 0]), view)
    colours = painted_rows(np.linspace(1, 2, len(_LEGEND))[None])[0] / 255
    figure.legend(
        [Patch(color=colour) for colour in colours],
        _LEGEND,
        loc='outside lower center',
        ncols=len(_LEGEND),
        fontsize=8,
        frameon=False,
    )
    title = query.text
    if first.prefix and query == Query():
        title = 'queries: the class tokens'
    figure.suptitle(
        f'{first.title}: {_AXES[first.axis]} ({title})', fontsize=10
    )
    return figure


def _draw_frames(
    axes: Axes,
    view: ClipView,
    relative: np.ndarray | None,
    grid: TokenGrid,
    steps: Sequence[int],
    num_steps: int,
) -> int:
    """Draw a row of frames; from one to the next in pixels."""
    row, names = [], []
    for step in steps:
        frame = view.frames[view.frame_of(step, num_steps)]
        if relative is not None:
            over = spread(relative[step], grid, frame.shape[:2])
            frame = paint(frame, over, strength(relative))
        row.append(frame)
        second = view.time_of(step, num_steps)
        names.append(
            f'step {step + 1}' if second is None else f'{second:.2f} s'
        )
    height, width = row[0].shape[:2]
    gap = np.full((height, max(width // 20, 1), 3), 255, np.uint8)
    row = [part for frame in row for part in (frame, gap)]
    axes.imshow(np.concatenate(row[:-1], axis=1))
    pitch = width + gap.shape[1]
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[])
    if relative is None:
        centres = np.arange(len(steps)) * pitch + width / 2
        axes.set_xticks(centres, names, fontsize=8)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
    return pitch


def _mark(
    axes: Axes,
    query: Query,
    grid: TokenGrid | None,
    steps: Sequence[int],
    pitch: int,
) -> None:
    """Frame the patches of the queries in a row of frames."""
    if grid is None or grid.kind == 'spectrogram':
        return
    for number, step in enumerate(steps):
        if query.steps is not None and step not in query.steps:
            continue
        for patch in query.patches or ():
            row, column = divmod(patch, grid.columns)
            x = number * pitch + column * grid.stride - 0.5
            corner, size = (x, row * grid.stride - 0.5), (grid.patch,) * 2
            axes.add_patch(Rectangle(corner, *size, fill=False, ec='white'))


def _draw_spectrogram(
    axes: Axes, view: ClipView, relative: np.ndarray | None, grid: TokenGrid
) -> None:
    pixels = spectrogram_image(view.mels)
    if relative is not None:
        over = spread(relative[0], grid, pixels.shape[:2])
        pixels = paint(pixels, over, strength(relative))
    bands, frames = pixels.shape[:2]
    extent = *(view.window or (0, frames)), 0, bands
    axes.imshow(pixels, origin='lower', aspect='auto', extent=extent)
    axes.tick_params(labelsize=7)
    axes.set_yticks([])
    axes.yaxis.set_label_coords(-0.01, 0.5)
    if view.window is None:
        axes.set_xlabel('spectrogram frame', fontsize=7)


def _draw_matrix(axes: Axes, rows: np.ndarray) -> None:
    axes.imshow(painted_rows(rows * rows.shape[1]), aspect='auto')
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel('key time →', fontsize=7)
    axes.set_ylabel('← query time', fontsize=7)


def _draw_wave(axes: Axes, view: ClipView) -> None:
    audio = view.audio
    times = audio.start + np.arange(len(audio.waveform)) / audio.sample_rate
    axes.plot(times, audio.waveform, color=TEAL, lw=0.4)
    axes.set_xlim(view.window)
    axes.set_yticks([])
    axes.tick_params(labelsize=7)
    axes.set_xlabel('seconds', fontsize=8)


def spread(relative: np.ndarray, grid: TokenGrid, shape: tuple) -> np.ndarray:
    """Lay attention to patches over the input, smooth between centres.

    Args:
        relative: Of the patches of one step, (rows * columns,).
        grid: Where they lie.
        shape: Height and width of the input.

    Returns:
        float32, (height, width); 0 outside of the patches' centres by more
        than half a stride.
    """
    cells = np.asarray(relative, np.float32).reshape(grid.rows, grid.columns)
    size = grid.columns * grid.stride, grid.rows * grid.stride
    filled = cv2.resize(cells, size, interpolation=cv2.INTER_LINEAR)
    first = (grid.patch - grid.stride) // 2
    canvas = np.zeros(shape, np.float32)
    part = canvas[first : first + size[1], first : first + size[0]]
    part[...] = filled[: part.shape[0], : part.shape[1]]
    return canvas


def strength(relative: np.ndarray) -> float:
    """The relative attention that is drawn at full strength."""
    return max(_STRONG, float(np.percentile(relative, _LARGEST)))


def paint(
    image: np.ndarray, relative: np.ndarray, strong: float
) -> np.ndarray:
    """Colour an image where attention is more than uniform.

    Args:
        image: RGB uint8, (height, width, 3).
        relative: Attention by uniform attention, (height, width).
        strong: The value that is drawn at full strength.

    Returns:
        RGB uint8, (height, width, 3).
    """
    level = np.clip((relative - 1) / (strong - 1), 0, 1)[..., None] ** _GAMMA
    # The dark end of the scale would look like shadow.
    colour = 255 * colormaps[COLORMAP](0.35 + 0.65 * level[..., 0])[..., :3]
    # In grey, so that a coloured scene does not look like attention.
    base = 0.65 * image.mean(axis=2, keepdims=True)
    mixed = base * (1 - _OPAQUE * level) + colour * _OPAQUE * level
    return mixed.round().astype(np.uint8)


def painted_rows(relative: np.ndarray) -> np.ndarray:
    """A table of attention in the colours of :func:`paint`, RGB uint8."""
    image = np.full((*relative.shape, 3), 110, np.uint8)
    return paint(image, relative, strength(relative))


def spectrogram_image(mels: np.ndarray) -> np.ndarray:
    """A grey image of a spectrogram, low bands in the first row.

    Args:
        mels: (frames, bands).

    Returns:
        RGB uint8, (bands, frames, 3).

    >>> spectrogram_image(np.zeros((100, 128))).shape
    (128, 100, 3)
    """
    low, high = np.percentile(mels, (1, 99.5))
    level = np.clip((mels.T - low) / max(high - low, 1e-6), 0, 1)
    return np.repeat((255 * level).astype(np.uint8)[..., None], 3, axis=2)
