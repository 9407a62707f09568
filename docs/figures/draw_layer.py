# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Draw the figure of one layer: ``python docs/figures/draw_layer.py``."""

from pathlib import Path

import draw_idea as idea
import matplotlib.pyplot as plt
from matplotlib.patches import Circle

CELL = 0.21
UPPER, LOWER = 4.7, 1.25
# Where the tokens are: before the layer, between its blocks, after it.
PLACES = (1.15, 5.35, 10.85, 15.05)
BLOCKS = {3.1: 'self-attention', 12.8: 'feed-forward'}
MIDDLE = 7.9
BORDERS = (6.15, 10.05)
TRAINED = dict(face=idea.TRAINED, edge=idea.TRAINED_EDGE)


def draw_frames(ax, x: float) -> None:
    """Tokens of the upper expert: P = 1 above N = 5 patches, T = 6."""

    def paint(step: int, patch: int) -> str:
        return idea.INK if patch == 5 else idea.SPATIAL

    idea.cells(ax, x, UPPER, 6, 6, CELL, paint)


def draw_audio(ax, x: float) -> None:
    """Tokens of the lower expert: P = 2 above N = 7 patches, T = 1."""

    def paint(step: int, patch: int) -> str:
        return idea.INK if patch > 6 else idea.AUDIO

    idea.cells(ax, x, LOWER, 1, 9, CELL, paint)


def draw_block(ax, x: float, y: float, text: str, color: str) -> None:
    """A residual block: what it adds comes from its layers and its adapter."""
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
    middle = (UPPER + LOWER) / 2
    idea.box(ax, MIDDLE, middle, 1.9, 1.0, **TRAINED)
    idea.label(ax, MIDDLE, middle + 0.2, 'link', size=13, weight='bold')
    idea.label(ax, MIDDLE, middle - 0.16, 'B-CA', size=10)
    for y, color, side in ((UPPER, idea.SPATIAL, 1), (LOWER, idea.AUDIO, -1)):
        edge = middle + 0.5 * side
        idea.arrow(ax, (BORDERS[0] + 0.1, y), (MIDDLE + 1.26, y), color)
        idea.arrow(ax, (MIDDLE - 0.55, y), (MIDDLE - 0.55, edge), color)
        idea.arrow(
            ax,
            (MIDDLE + 0.95, middle + 0.25 * side),
            (MIDDLE + 1.4, y - 0.14 * side),
            idea.LINK,
            connectionstyle='angle,angleA=0,angleB=90,rad=5',
        )
        draw_sum(ax, MIDDLE + 1.4, y)
        idea.arrow(ax, (MIDDLE + 1.54, y), (BORDERS[1] - 0.1, y), color)
    for y, text in ((UPPER - 0.85, 'patches'), (LOWER + 0.85, 'patches')):
        idea.label(
            ax, MIDDLE - 0.65, y, text, size=9, color=idea.SOFT, ha='right'
        )
    idea.label(
        ax,
        MIDDLE + 1.2,
        middle,
        'updates',
        size=9.5,
        color=idea.LINK,
        ha='left',
    )


def draw_captions(ax) -> None:
    """Names, shapes and the frame of the layer."""
    for y, color, name, shape in (
        (UPPER, idea.SPATIAL, 'spatial', '(B, 6, 1 + 5, C)'),
        (LOWER, idea.AUDIO, 'audio', '(B, 1, 2 + 7, C)'),
    ):
        idea.label(
            ax, PLACES[0], y + 1.32, name, size=12, color=color, weight='bold'
        )
        idea.label(ax, PLACES[0], y - 1.2, shape, size=10, family='monospace')
    for x, text in (
        (3.1, 'attention block'),
        (MIDDLE, 'cross-attention'),
        (12.8, 'feed-forward block'),
    ):
        idea.label(ax, x, 6.55, text, size=12, weight='bold')
    for x in BORDERS:
        ax.plot([x, x], [-0.2, 6.8], color='#c4ced7', linestyle=(0, (5, 3)))
    idea.label(
        ax,
        12.8,
        2.98,
        'T time steps across, P prefix tokens (dark)\n'
        'above N patches, C channels',
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
        draw_audio(ax, x)
    for x, text in BLOCKS.items():
        draw_block(ax, x, UPPER, text, idea.SPATIAL)
        draw_block(ax, x, LOWER, text, idea.AUDIO)
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
