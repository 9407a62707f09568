# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Figures and a video of the attention of a multi-expert model on a clip."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw, ImageFont

from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.datasets.transcode import finished_or_nothing
from ca2st_mm.models.layers.tokens import TokenGrid

from .attention_maps import (
    Attention,
    AttentionMap,
    ClipView,
    Point,
    Query,
    query_of,
    read_attention,
)
from .style import HEAT, TEAL, FigureInputError, new_figure

_AXES = dict(
    time='the same patch at any time',
    space='any patch at the same time',
    all='any patch at any time',
)
_SHOWN = 8  # most time steps side by side
# Attention of this many times uniform is drawn at full strength, or the
# largest, whichever is more, so that next to nothing does not glow.
_STRONG = 2.0
_OPAQUE = 0.8
_FPS = 12
_PANEL = 320, 240  # pixels of a panel of the video: width, height
_CAPTION = 26
_BACKGROUND = 24


def attention_views(
    recognizer: Any,
    file: str | Path,
    point: Point | None = None,
    **options: Any,
) -> dict[str, Figure]:
    """Figures of all links and of self-attention, by name.

    Args:
        recognizer: A ``ca2st_mm.Recognizer`` of a multi-expert model.
        file: The clip.
        point: Where the queries lie; None for the mean over all.
        **options: Of :func:`read_attention`.

    Returns:
        ``spatial_from_audio``: what the spatial expert attends to in the
        audio, and so on; ``spatial_self``: in its own input.

    Raises:
        FigureInputError: See :func:`read_attention` and :func:`query_of`.
    """
    point = point or Point()
    attention = read_attention(recognizer, file, near=point.second, **options)
    return draw_views(attention, point)


def draw_views(attention: Attention, point: Point) -> dict[str, Figure]:
    """Figures of attention that has been read, by name.

    Args:
        attention: Of :func:`read_attention`.
        point: Where the queries lie.
    """
    figures = {}
    for name, maps in attention.maps.items():
        spec, grid = maps[0].query_spec, attention.grids[maps[0].query]
        query = query_of(point, spec, grid, attention.view)
        figures[name] = draw_attention(maps, attention, query)
    return figures


def draw_attention(
    maps: Sequence[AttentionMap], attention: Attention, query: Query
) -> Figure:
    """Draw one direction of a link, or one self-attention, in all layers.

    The first row is the input, then a row for each layer; colour is
    attention, from uniform to ``strength`` times that (the largest number is
    next to the row).  At the right, which time step attends to which.

    Args:
        maps: Of one name, by layer.
        attention: What they are part of.
        query: Which tokens are the queries.
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
    heights = [1.3] * (1 + len(maps)) + [0.7] * wave
    widths = [7.0] if spectrogram or not grid else [1.3] * len(steps)
    widths += [1.7] * (matrices[0] is not None)
    figure = new_figure(sum(widths) + 1.0, sum(heights) + 1.0)
    cells = figure.add_gridspec(
        len(heights), len(widths), height_ratios=heights, width_ratios=widths
    )
    for number, found in enumerate([None, *maps]):
        heat = found and found.heat(query.steps, query.patches).numpy()
        row = [
            figure.add_subplot(cells[number, column])
            for column in range(len(steps))
        ]
        if grid is None and found is None:
            row[0].remove()
            continue
        if found is not None:
            row[0].set_ylabel(
                f'layer {found.layer}\nup to {heat.max():.1f}×',
                fontsize=8,
                rotation=0,
                ha='right',
                va='center',
            )
        if grid is None:
            options = dict(aspect='auto', cmap=HEAT, vmin=1)
            row[0].imshow(heat, vmax=strength(heat), **options)
            row[0].set_xlabel('patch', fontsize=8)
        elif spectrogram:
            _draw_spectrogram(row[0], view, heat, grid)
        else:
            for axes, step in zip(row, steps, strict=True):
                frame = view.frames[view.frame_of(step, num_steps)]
                if heat is not None:
                    over = spread(heat[step], grid, frame.shape[:2])
                    frame = paint(frame, over, strength(heat))
                axes.imshow(frame)
                axes.set(xticks=[], yticks=[])
                if heat is None:
                    second = view.time_of(step, num_steps)
                    name = f'step {step}'
                    name = name if second is None else f'{second:.2f} s'
                    axes.set_title(name, fontsize=8)
                    if query.steps is None or step in query.steps:
                        _mark(axes, query, attention.grids[first.query])
        if found is not None and matrices[0] is not None:
            rows = matrices[number - 1].numpy()
            _draw_matrix(figure.add_subplot(cells[number, -1]), rows)
    if wave:
        _draw_wave(figure.add_subplot(cells[-1, 0]), view)
    title = query.text
    if first.prefix and query == Query():
        title = 'queries: the class tokens'
    figure.suptitle(
        f'{_ends(first)}: {_AXES[first.axis]} ({title})', fontsize=10
    )
    return figure


def _ends(found: AttentionMap) -> str:
    key = 'itself' if found.query == found.key else found.key
    return f'{found.query} attends to {key}'


def _draw_spectrogram(
    axes: Axes, view: ClipView, heat: np.ndarray | None, grid: TokenGrid
) -> None:
    pixels = spectrogram_image(view.mels)
    if heat is not None:
        over = spread(heat[0], grid, pixels.shape[:2])
        pixels = paint(pixels, over, strength(heat))
    bands, frames = pixels.shape[:2]
    extent = *(view.window or (0, frames)), 0, bands
    axes.imshow(pixels, origin='lower', aspect='auto', extent=extent)
    axes.tick_params(labelsize=7)
    axes.set_yticks([])
    axes.yaxis.set_label_coords(-0.01, 0.5)
    if view.window is None:
        axes.set_xlabel('spectrogram frame', fontsize=7)


def _mark(axes: Axes, query: Query, grid: TokenGrid | None) -> None:
    """Frame the patches of the queries."""
    if grid is None or grid.kind == 'spectrogram':
        return
    for patch in query.patches or ():
        row, column = divmod(patch, grid.columns)
        corner = column * grid.stride - 0.5, row * grid.stride - 0.5
        size = grid.patch, grid.patch
        axes.add_patch(Rectangle(corner, *size, fill=False, ec='white'))


def _draw_matrix(axes: Axes, rows: np.ndarray) -> None:
    uniform = rows * rows.shape[1]
    strong = strength(uniform)
    axes.imshow(uniform, aspect='auto', cmap=HEAT, vmin=1, vmax=strong)
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


def spread(heat: np.ndarray, grid: TokenGrid, shape: tuple) -> np.ndarray:
    """Lay the heat of patches over the input, smooth between centres.

    Args:
        heat: Of the patches of one step, (rows * columns,).
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


def paint(image: np.ndarray, heat: np.ndarray, strong: float) -> np.ndarray:
    """Colour an image where attention is more than uniform.

    Args:
        image: RGB uint8, (height, width, 3).
        heat: (height, width).
        strong: Heat at full strength.

    Returns:
        RGB uint8, (height, width, 3).
    """
    level = np.clip((heat - 1) / (strong - 1), 0, 1)[..., None]
    # The dark end of the scale would look like shadow.
    colour = 255 * colormaps[HEAT](0.4 + 0.6 * level[..., 0])[..., :3]
    # Mixed with grey, so that a coloured scene does not look like heat.
    grey = image.mean(axis=2, keepdims=True)
    base = 0.35 * image + 0.35 * grey
    mixed = base * (1 - _OPAQUE * level) + colour * _OPAQUE * level
    return mixed.round().astype(np.uint8)


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


def write_attention_video(attention: Attention, path: str | Path) -> None:
    """Write a video with a panel for the last layer of each name.

    A panel of frames shows the last frame that the model has read, and what
    all queries attend to on average; a panel of audio shows what the queries
    of the moment attend to (all of them, where they have no time steps), with
    a line at the moment.  The audio is that of the file.

    Args:
        attention: Of :func:`read_attention`; experts whose grid is unknown
            have no panel.
        path: File to write (mp4, mkv).

    Raises:
        FigureInputError: If there is no panel or the times are unknown.
        MediaError: If the file cannot be written.
    """
    view = attention.view
    panels = [
        _panel_of(maps[-1], grid, view)
        for maps in attention.maps.values()
        if (grid := attention.grids[maps[-1].key])
    ]
    if not panels:
        raise FigureInputError('there is no attention to show')
    spans, audio, track = [], view.audio, ()
    if view.seconds is not None:
        step = np.diff(view.seconds).max() if len(view.seconds) > 1 else 1.0
        spans.append((view.seconds[0], view.seconds[-1] + step))
    if audio is not None:
        length = len(audio.waveform) / audio.sample_rate
        spans.append((audio.start, audio.start + length))
    if not spans:
        raise FigureInputError(
            'the times of the clip are unknown, so it cannot be shown as a '
            'video; open it with OpenVideo in the config'
        )
    start, end = min(s for s, _ in spans), max(e for _, e in spans)
    if audio is not None:
        late = max(audio.start - start, 0.0)
        track = audio.waveform, audio.sample_rate, (0.0, late)
    moments = np.arange(start, end, 1 / _FPS)
    frames = np.stack([_tile([panel(m) for panel in panels]) for m in moments])
    with finished_or_nothing(str(path)) as part:
        write_clip(part, frames, _FPS, *track)


def _panel_of(found: AttentionMap, grid: TokenGrid, view: ClipView):
    """A function from a moment to the pixels of a panel."""
    caption = f'{_ends(found)}, layer {found.layer}'
    num_steps, heat = found.query_spec.num_steps, found.heat().numpy()
    if grid.kind != 'spectrogram':
        strong, count = strength(heat), len(view.frames)
        painted = [
            paint(
                frame,
                spread(heat[n * len(heat) // count], grid, frame.shape[:2]),
                strong,
            )
            for n, frame in enumerate(view.frames)
        ]

        def frame_at(second: float) -> np.ndarray:
            number = 0
            if view.seconds is not None:
                number = np.searchsorted(view.seconds, second, 'right') - 1
            return _panel(painted[max(int(number), 0)], caption, None)

        return frame_at
    heats, times = [heat], [0.0]
    if num_steps > 1 and view.seconds is not None:
        heats = [found.heat([step]).numpy() for step in range(num_steps)]
        times = [view.time_of(step, num_steps) for step in range(num_steps)]
    strong, image = max(map(strength, heats)), spectrogram_image(view.mels)
    over = [spread(heat[0], grid, image.shape[:2]) for heat in heats]
    painted = [paint(image, one, strong)[::-1] for one in over]

    def spectrogram_at(second: float) -> np.ndarray:
        number = int(np.abs(np.subtract(times, second)).argmin())
        place = None
        if view.window:
            start, end = view.window
            place = (second - start) / (end - start)
        return _panel(painted[number], caption, place)

    return spectrogram_at


def _panel(
    pixels: np.ndarray, caption: str, place: float | None
) -> np.ndarray:
    """Pixels with a caption; a spectrogram fills the panel and has a line."""
    width, height = _PANEL
    panel = Image.new('RGB', (width, height + _CAPTION), (_BACKGROUND,) * 3)
    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    size = [round(side * scale) for side in (pixels.shape[1], pixels.shape[0])]
    if place is not None:
        size = [width, height]
    shown = Image.fromarray(np.ascontiguousarray(pixels)).resize(size)
    panel.paste(shown, ((width - size[0]) // 2, _CAPTION))
    draw = ImageDraw.Draw(panel)
    draw.text((6, 6), caption, (255,) * 3, ImageFont.load_default(13))
    if place is not None and 0 <= place <= 1:
        x = round(place * (width - 1))
        draw.line((x, _CAPTION, x, height + _CAPTION), (255,) * 3)
    return np.asarray(panel)


def _tile(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Panels in rows of three, the last one filled up."""
    columns = min(len(panels), 3)
    empty = np.full_like(panels[0], _BACKGROUND)
    full = [*panels, *[empty] * (-len(panels) % columns)]
    rows = [
        np.concatenate(full[first : first + columns], axis=1)
        for first in range(0, len(full), columns)
    ]
    return np.concatenate(rows)
