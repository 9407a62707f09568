# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Draw the figure of one layer: ``python docs/figures/draw_layer.py``."""

from pathlib import Path

import draw_idea as idea
import matplotlib.pyplot as plt
from matplotlib.patches import Circle

CELL = 0.21
UPPER, LOWER = 4.7, 1.25
# Where the tokens stand: before the layer, between its halves, behind it.
PLACES = (1.15, 5.35, 10.85, 15.05)
HALVES = {3.1: 'self-attention', 12.8: 'feed-forward'}
MIDDLE = 7.9
BORDERS = (6.15, 10.05)
TRAINED = dict(face=idea.TRAINED, edge=idea.TRAINED_EDGE)


def draw_frames(ax, x: float) -> None:
    """Tokens of the upper expert: P = 1 above N = 5 positions, T = 6."""

    def paint(step: int, position: int) -> str:
        return idea.INK if position == 5 else idea.SEE

    idea.cells(ax, x, UPPER, 6, 6, CELL, paint)


def draw_sound(ax, x: float) -> None:
    """Tokens of the lower expert: P = 2 above N = 7 positions, T = 1."""

    def paint(step: int, position: int) -> str:
        return idea.INK if position > 6 else idea.HEAR

    idea.cells(ax, x, LOWER, 1, 9, CELL, paint)


def draw_half(ax, x: float, y: float, text: str, color: str) -> None:
    """A residual half: what it adds comes from the block and its adapter."""
    idea.box(ax, x - 0.1, y, 1.5, 0.62, text, size=10.5)
    idea.box(ax, x + 0.1, y - 0.62, 1.1, 0.4, 'adapter', size=9, **TRAINED)
    start, end = x - 1.12, x + 1.15
    idea.arrow(ax, (start - 0.15, y), (x - 0.87, y), color)
    idea.arrow(ax, (x + 0.67, y), (end - 0.13, y), color)
    ax.plot(
        [start, start, end],
        [y, y + 0.62, y + 0.62],
        color=color,
        linewidth=1.2,
    )
    idea.arrow(ax, (end, y + 0.62), (end, y + 0.14), color, width=1.2)
    draw_sum(ax, end, y)
    idea.arrow(ax, (end + 0.14, y), (end + 0.34, y), color)


def draw_sum(ax, x: float, y: float) -> None:
    """A plus sign in a circle."""
    ax.add_patch(
        Circle((x, y), 0.14, facecolor='white', edgecolor=idea.INK, zorder=4)
    )
    idea.label(ax, x, y - 0.01, '+', size=11)


def draw_link(ax) -> None:
    """The link in the middle: it reads both grids and updates both."""
    half = (UPPER + LOWER) / 2
    idea.box(ax, MIDDLE, half, 1.9, 1.0, **TRAINED)
    idea.label(ax, MIDDLE, half + 0.2, 'link', size=13, weight='bold')
    idea.label(ax, MIDDLE, half - 0.16, 'B-CA', size=10)
    for y, color, side in ((UPPER, idea.SEE, 1), (LOWER, idea.HEAR, -1)):
        edge = half + 0.5 * side
        idea.arrow(ax, (BORDERS[0] + 0.1, y), (MIDDLE + 1.26, y), color)
        idea.arrow(ax, (MIDDLE - 0.55, y), (MIDDLE - 0.55, edge), color)
        idea.arrow(
            ax,
            (MIDDLE + 0.95, half + 0.25 * side),
            (MIDDLE + 1.4, y - 0.14 * side),
            idea.LINK,
            connectionstyle='angle,angleA=0,angleB=90,rad=5',
        )
        draw_sum(ax, MIDDLE + 1.4, y)
        idea.arrow(ax, (MIDDLE + 1.54, y), (BORDERS[1] - 0.1, y), color)
    for y, text in ((UPPER - 0.85, 'positions'), (LOWER + 0.85, 'positions')):
        idea.label(
            ax, MIDDLE - 0.65, y, text, size=9, color=idea.SOFT, ha='right'
        )
    idea.label(
        ax, MIDDLE + 1.2, half, 'updates', size=9.5, color=idea.LINK, ha='left'
    )


def draw_captions(ax) -> None:
    """Names, shapes and the frame of the layer."""
    for y, color, name, shape in (
        (UPPER, idea.SEE, 'spatial', '(B, 6, 1 + 5, C)'),
        (LOWER, idea.HEAR, 'audio', '(B, 1, 2 + 7, C)'),
    ):
        idea.label(
            ax, PLACES[0], y + 1.32, name, size=12, color=color, weight='bold'
        )
        idea.label(ax, PLACES[0], y - 1.2, shape, size=10, family='monospace')
    for x, text in (
        (3.1, 'first half'),
        (MIDDLE, 'between the halves'),
        (12.8, 'second half'),
    ):
        idea.label(ax, x, 6.55, text, size=12, weight='bold')
    for x in BORDERS:
        ax.plot([x, x], [-0.2, 6.8], color='#c4ced7', linestyle=(0, (5, 3)))
    idea.label(
        ax,
        12.8,
        2.98,
        'T steps across, P extra tokens (dark)\nabove N positions, C channels',
        size=10,
        color=idea.SOFT,
    )


def main() -> None:
    """Draw and save."""
    plt.rcParams['font.family'] = 'DejaVu Sans'
    figure, ax = plt.subplots(figsize=(14.4, 6.4), dpi=110)
    ax.set_position((0, 0, 1, 1))
    for x in PLACES:
        draw_frames(ax, x)
        draw_sound(ax, x)
    for x, text in HALVES.items():
        draw_half(ax, x, UPPER, text, idea.SEE)
        draw_half(ax, x, LOWER, text, idea.HEAR)
    draw_link(ax)
    draw_captions(ax)
    ax.set_xlim(0, 16.2)
    ax.set_ylim(-0.25, 6.9)
    ax.set_aspect('equal')
    ax.axis('off')
    path = Path(__file__).with_name('layer.png')
    figure.savefig(path, facecolor='white')
    print(f'wrote {path}')


if __name__ == '__main__':
    main()
