# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Attention of all links and experts on a clip.

A figure for each link and direction, and with --video one video of the last
layer with the audio of the clip::

    ca2st plot attention CONFIG CHECKPOINT clip.mp4 \\
        --out attention --video
    ca2st plot attention CONFIG CHECKPOINT clip.mp4 \\
        --at 1.5 --patch 6,7 --layers 10 11 12
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from figure_tool import figure_parser


def patch(text: str) -> tuple[int, int]:
    """ROW,COL as two numbers."""
    row, column = map(int, text.split(','))
    return row, column


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = figure_parser(
        __doc__,
        'folder (default: attention next to the checkpoint, or in '
        'work_dirs/CONFIG if it is not on this disk)',
    )
    add = parser.add_argument
    add('config', help='config of the model')
    add('checkpoint', help='its weights')
    add('clip', help='media file')
    add(
        '--at',
        type=float,
        metavar='SECONDS',
        help='moment of the queries (default: mean over all)',
    )
    add(
        '--patch',
        type=patch,
        metavar='ROW,COL',
        help='patch of the queries in frames, 0,0 in the upper left (default: '
        'mean over all)',
    )
    add('--layers', type=int, nargs='+', help='from 1 (default: all)')
    add('--head', type=int, help='from 1 (default: mean over heads)')
    add(
        '--view',
        type=int,
        help='of the test, from 1 (default: the middle, or nearest to --at)',
    )
    add(
        '--only',
        nargs='+',
        metavar='NAME',
        help='draw these alone, such as spatial_from_audio or audio_self',
    )
    add('--start', type=float, help='first second of the clip')
    add('--end', type=float, help='last second of the clip')
    add('--video', action='store_true', help='also write attention.mp4')
    add('--device', help='e.g. cpu, cuda (default: the best)')
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import numpy as np
from named_model import load_named
from PIL import Image, ImageDraw, ImageFont

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.datasets.faults import SampleFault
from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.models.layers.tokens import TokenGrid
from ca2st_mm.utils.files import written_whole
from ca2st_mm.visualization.attention import (
    Point,
    draw_views,
    paint,
    spectrogram_image,
    spread,
    strength,
)
from ca2st_mm.visualization.attention_maps import (
    Attention,
    AttentionMap,
    ClipView,
    read_attention,
)
from ca2st_mm.visualization.style import FigureInputError, save

_FPS = 12
_PANEL = 320, 240  # pixels of a panel of the video: width, height
_CAPTION = 26
_BACKGROUND = 24


def write_video(attention: Attention, path: str | Path) -> None:
    """Write a video with a panel for the last layer of each name.

    A panel of frames shows the last frame that the model has read, and what
    all queries attend to on average; a panel of audio shows what the queries
    of the moment attend to (all of them, where they have no time steps), with
    a line at the moment.  Experts whose grid is unknown have no panel.

    Raises:
        FigureInputError: If there is no panel or the times are unknown.
        MediaError: If the file cannot be written.
    """
    view = attention.view
    panels = [
        panel_of(maps[-1], grid, view)
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
    with written_whole(path) as part:
        write_clip(str(part), frames, _FPS, *track)


def panel_of(
    found: AttentionMap, grid: TokenGrid, view: ClipView
) -> Callable[[float], np.ndarray]:
    """A function from a moment to the pixels of a panel."""
    caption = f'{found.title}, layer {found.layer}'
    num_steps, relative = found.query_spec.num_steps, found.relative().numpy()
    if grid.kind != 'spectrogram':
        strong, count = strength(relative), len(view.frames)
        painted = [
            paint(
                frame,
                spread(
                    relative[n * len(relative) // count], grid, frame.shape[:2]
                ),
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
    several, times = [relative], [0.0]
    if num_steps > 1 and view.seconds is not None:
        several = [found.relative([step]).numpy() for step in range(num_steps)]
        times = [view.time_of(step, num_steps) for step in range(num_steps)]
    strong, image = max(map(strength, several)), spectrogram_image(view.mels)
    over = [spread(relative[0], grid, image.shape[:2]) for relative in several]
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


def main() -> None:
    """Read and draw as the arguments say."""
    args = parse_args()
    attention = read_attention(
        load_named(args),
        args.clip,
        args.view,
        args.layers,
        args.head,
        (args.start, args.end),
        args.at,
    )
    if args.only:
        if unknown := [one for one in args.only if one not in attention.maps]:
            raise FigureInputError(
                f'there is no {unknown[0]!r}; the model has '
                f'{", ".join(attention.maps)}'
            )
        maps = {name: attention.maps[name] for name in args.only}
        attention = replace(attention, maps=maps)
    figures = draw_views(attention, Point(args.at, args.patch))
    folder = Path(args.checkpoint).parent
    if not Path(args.checkpoint).exists():  # but a name
        folder = Path('work_dirs', Path(args.config).stem)
    out = Path(args.out or folder / 'attention')
    for name, figure in figures.items():
        save(figure, out / f'{name}.png')
        print(out / f'{name}.png')
    if args.video:
        write_video(attention, out / 'attention.mp4')
        print(out / 'attention.mp4')


if __name__ == '__main__':
    run_or_explain(main, FileNotFoundError, SampleFault, ValueError)
