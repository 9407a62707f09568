# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Draw the overview figure: ``python docs/figures/draw_idea.py``."""

from pathlib import Path

import matplotlib

matplotlib.use('Agg')

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.patches import (  # noqa: E402
    Circle,
    FancyArrowPatch,
    FancyBboxPatch,
    Rectangle,
)

INK = '#22303c'
SOFT = '#6b7a88'
FROZEN, FROZEN_EDGE = '#e8edf2', '#9fb0bf'
TRAINED, TRAINED_EDGE = '#ffd9a8', '#e08a1e'
SPATIAL, TEMPORAL, AUDIO = '#3b7dd8', '#2a9d6f', '#b0509c'
LINK = TRAINED_EDGE
COLUMNS = dict(spatial=2.0, temporal=5.6, audio=9.2)
COLORS = dict(spatial=SPATIAL, temporal=TEMPORAL, audio=AUDIO)
WIDTH = 2.5


def box(ax, x, y, width, height, text='', face=FROZEN, edge=FROZEN_EDGE, **kw):
    """A rounded box around the point (x, y), with a text in its middle."""
    size = kw.pop('size', 11)
    weight = kw.pop('weight', 'normal')
    patch = FancyBboxPatch(
        (x - width / 2, y - height / 2),
        width,
        height,
        boxstyle='round,pad=0,rounding_size=0.12',
        facecolor=face,
        edgecolor=edge,
        linewidth=kw.pop('linewidth', 1.2),
        zorder=kw.pop('zorder', 3),
        **kw,
    )
    ax.add_patch(patch)
    if text:
        label(ax, x, y, text, size=size, weight=weight)


def label(ax, x, y, text, size=11, color=INK, **kw):
    """Centred text."""
    kw.setdefault('ha', 'center')
    kw.setdefault('va', 'center')
    ax.text(x, y, text, fontsize=size, color=color, zorder=6, **kw)


def arrow(ax, start, end, color=INK, style='-|>', width=1.5, **kw):
    """An arrow from start to end."""
    patch = FancyArrowPatch(
        start,
        end,
        arrowstyle=style,
        mutation_scale=kw.pop('scale', 12),
        color=color,
        linewidth=width,
        shrinkA=0,
        shrinkB=0,
        zorder=kw.pop('zorder', 2),
        **kw,
    )
    ax.add_patch(patch)


def cells(ax, x, y, steps, patches, size, paint):
    """A grid of tokens around (x, y); ``paint(step, patch)`` colours it."""
    left, low = x - steps * size / 2, y - patches * size / 2
    for step in range(steps):
        for patch in range(patches):
            face = paint(step, patch)
            ax.add_patch(
                Rectangle(
                    (left + step * size, low + patch * size),
                    size * 0.86,
                    size * 0.86,
                    facecolor=face,
                    edgecolor='white',
                    linewidth=0.5,
                    zorder=4,
                )
            )


def draw_frames(ax, x, y, shade):
    """Four frames of a ball that rises; ``shade`` dims the unused ones."""
    for index in range(4):
        left = x - 1.2 + index * 0.62
        used = shade is None or index in shade
        ax.add_patch(
            Rectangle(
                (left, y - 0.27),
                0.54,
                0.54,
                facecolor='#dfe9f5' if used else '#f4f6f8',
                edgecolor=SOFT if used else '#c9d1d8',
                linewidth=1,
                zorder=4,
            )
        )
        ax.add_patch(
            Circle(
                (left + 0.12 + 0.1 * index, y - 0.14 + 0.09 * index),
                0.085,
                facecolor='#e4572e' if used else '#f3d0c5',
                edgecolor='none',
                zorder=5,
            )
        )


def draw_spectrogram(ax, x, y):
    """A small made-up spectrogram."""
    time, pitch = np.meshgrid(np.linspace(0, 1, 120), np.linspace(0, 1, 48))
    rng = np.random.default_rng(0)
    image = 0.12 * rng.random(time.shape)
    for harmonic, strength in ((0.18, 1.0), (0.4, 0.7), (0.62, 0.45)):
        ridge = harmonic + 0.1 * np.sin(5 * time) * harmonic * 2
        image += strength * np.exp(-(((pitch - ridge) / 0.035) ** 2))
    image *= 0.35 + 0.65 * (np.abs(np.sin(3.2 * np.pi * time)) > 0.35)
    ax.imshow(
        image,
        origin='lower',
        aspect='auto',
        cmap='magma',
        extent=(x - 1.2, x + 1.2, y - 0.3, y + 0.3),
        zorder=4,
    )


def draw_inputs(ax):
    """Bottom row: what each expert reads, and its tokens."""
    y = 0.95
    draw_frames(ax, COLUMNS['spatial'], y, shade=(1, 3))
    draw_frames(ax, COLUMNS['temporal'], y, shade=None)
    draw_spectrogram(ax, COLUMNS['audio'], y)
    captions = dict(
        spatial='every second frame',
        temporal='all frames',
        audio='log-mel spectrogram',
    )
    for name, x in COLUMNS.items():
        label(ax, x, 0.42, captions[name], size=10, color=SOFT)
        arrow(ax, (x, 1.38), (x, 1.72), COLORS[name])
    grids = dict(spatial=(8, 5), temporal=(8, 4), audio=(12, 4))
    for name, (steps, patches) in grids.items():
        color = COLORS[name]

        def paint(step, patch, name=name, color=color):
            if name == 'spatial' and patch == 4:
                return INK
            return color

        x = COLUMNS[name]
        if name == 'audio':
            cells(ax, x + 0.12, 2.2, 11, patches, 0.17, paint)
            cells(ax, x - 1.02, 2.2, 1, 2, 0.17, lambda *_: INK)
        else:
            height = 2.2 if name == 'temporal' else 2.2 + 0.085
            cells(ax, x, height, steps, patches, 0.17, paint)
        arrow(ax, (x, 2.72), (x, 3.35), color)


def draw_layer(ax):
    """The middle: the two blocks of a layer with the links between them."""
    ax.add_patch(
        FancyBboxPatch(
            (0.45, 3.1),
            10.3,
            4.4,
            boxstyle='round,pad=0,rounding_size=0.25',
            facecolor='#fbfcfd',
            edgecolor='#c4ced7',
            linewidth=1.4,
            linestyle=(0, (5, 3)),
            zorder=1,
        )
    )
    label(ax, 10.55, 7.2, '× 12 layers', size=11, color=SOFT, ha='right')
    for name, x in COLUMNS.items():
        color = COLORS[name]
        block(ax, x, 3.74, 'self-attention')
        arrow(ax, (x, 4.12), (x, 6.13), color, zorder=2)
        block(ax, x, 6.52, 'feed-forward')
        arrow(ax, (x, 6.9), (x, 7.68), color)
    xs = [COLUMNS[n] for n in ('spatial', 'temporal', 'audio')]
    link(ax, xs[0], xs[1], 4.57, ('time', 'space'))
    link(ax, xs[1], xs[2], 5.77, ('all', 'all'))
    # The long link passes over the temporal expert.
    ax.add_patch(
        Rectangle(
            (xs[1] - 0.13, 5.05),
            0.26,
            0.24,
            facecolor='#fbfcfd',
            edgecolor='none',
            zorder=2.5,
        )
    )
    link(ax, xs[0], xs[2], 5.17, ('all', 'all'), at=(xs[0] + xs[1]) / 2)
    label(
        ax,
        (xs[0] + xs[1]) / 2,
        5.77,
        'links with audio: last 3 layers',
        size=9,
        color=SOFT,
    )


def block(ax, x, y, text):
    """A frozen block and its trained adapter."""
    box(ax, x - 0.42, y, 1.66, 0.76, text, size=11)
    box(
        ax,
        x + 0.87,
        y,
        0.76,
        0.76,
        'adapter',
        face=TRAINED,
        edge=TRAINED_EDGE,
        size=8.5,
    )


def link(ax, left, right, y, axes, at=None):
    """A two-way link; ``axes`` are those of its left and right end."""
    middle = (left + right) / 2 if at is None else at
    for x in (left, right):
        ax.add_patch(Circle((x, y), 0.09, color=LINK, zorder=5))
    arrow(ax, (left + 0.1, y), (right - 0.1, y), LINK, '<|-|>', 2.2, zorder=3)
    box(
        ax,
        middle,
        y,
        1.15,
        0.46,
        'B-CA',
        face=TRAINED,
        edge=TRAINED_EDGE,
        weight='bold',
        zorder=5,
    )
    for x, axis, side in ((left, axes[0], 'left'), (right, axes[1], 'right')):
        shift = 0.3 if side == 'left' else -0.3
        label(
            ax,
            x + shift,
            y - 0.2,
            axis,
            size=9,
            color=TRAINED_EDGE,
            ha=side,
        )


def draw_head(ax):
    """The top: pooled features, their sum and the classifier."""
    names = dict(
        spatial='spatial expert · CLIP',
        temporal='temporal expert · VideoMAE',
        audio='audio expert · AST',
    )
    middle = COLUMNS['temporal']
    for name, x in COLUMNS.items():
        box(
            ax,
            x,
            7.94,
            2.1,
            0.5,
            'pool, adapter',
            face=TRAINED,
            edge=TRAINED_EDGE,
        )
        if x == middle:
            arrow(ax, (x, 8.19), (x, 8.47), COLORS[name])
        else:
            side = -0.24 if x < middle else 0.24
            arrow(
                ax,
                (x, 8.19),
                (middle + side, 8.7),
                COLORS[name],
                connectionstyle='angle,angleA=90,angleB=0,rad=8',
            )
        label(
            ax,
            x,
            -0.02,
            names[name],
            size=11.5,
            color=COLORS[name],
            weight='bold',
        )
    ax.add_patch(
        Circle((middle, 8.7), 0.22, facecolor='white', edgecolor=INK, zorder=4)
    )
    label(ax, middle, 8.69, '+', size=15)
    arrow(ax, (middle, 8.92), (middle, 9.22), INK)
    box(
        ax,
        middle,
        9.46,
        2.1,
        0.46,
        'classifier',
        face=TRAINED,
        edge=TRAINED_EDGE,
    )


def draw_link_inside(ax):
    """Right, top: what happens inside a B-CA."""
    left, right, middle = 12.75, 15.75, 14.25
    label(ax, 11.75, 9.46, 'Inside a B-CA', size=13, weight='bold', ha='left')
    for x, name in ((left, 'expert a'), (right, 'expert b')):
        color = SPATIAL if x == left else AUDIO
        label(ax, x, 4.78, name, size=11, color=color, weight='bold')
        arrow(ax, (x, 4.98), (x, 5.3), color)
        box(
            ax,
            x,
            5.55,
            1.7,
            0.46,
            'down, norm',
            face=TRAINED,
            edge=TRAINED_EDGE,
        )
        box(
            ax,
            x,
            7.0,
            1.7,
            0.62,
            'attention',
            face=TRAINED,
            edge=TRAINED_EDGE,
        )
        arrow(ax, (x, 5.8), (x, 6.67), color)
        arrow(ax, (x, 7.33), (x, 7.78), color)
        box(
            ax,
            x,
            8.03,
            1.7,
            0.46,
            'GELU, up',
            face=TRAINED,
            edge=TRAINED_EDGE,
        )
        arrow(ax, (x, 8.28), (x, 8.7), color)
        label(ax, x, 8.88, 'update', size=11, color=color)
        label(
            ax,
            x + 0.08,
            6.28,
            'query',
            size=9,
            color=SOFT,
            ha='left',
            style='italic',
        )
    arrow(ax, (left, 5.95), (right - 0.5, 6.67), SPATIAL)
    arrow(ax, (right, 5.95), (left + 0.5, 6.67), AUDIO)
    label(ax, middle, 6.72, 'key, value', size=9, color=SOFT, style='italic')
    label(
        ax,
        middle,
        4.38,
        'a bottleneck of half the width;\nthe update starts at zero',
        size=10,
        color=SOFT,
        va='top',
    )


def draw_axes(ax):
    """Right, bottom: what a token attends to."""
    label(
        ax,
        11.75,
        3.3,
        'Axes of cross-attention',
        size=13,
        weight='bold',
        ha='left',
    )
    near, away, far = '#f2994a', '#ffd9a8', '#e3e8ed'
    sets = (
        (12.6, 'time', lambda step, patch: patch == 2),
        (14.25, 'space', lambda step, patch: step == 3),
        (15.9, 'all', lambda step, patch: True),
    )
    for x, name, attends in sets:

        def paint(step, patch, attends=attends):
            if (step, patch) == (3, 2):
                return near
            return away if attends(step, patch) else far

        cells(ax, x, 2.1, 6, 6, 0.23, paint)
        label(ax, x, 1.05, name, size=12, weight='bold')
    notes = (
        'same patch,\nall time steps',
        'same time step,\nall patches',
        'all patches,\nall time steps',
    )
    for (x, _, _), note in zip(sets, notes, strict=True):
        label(ax, x, 0.8, note, size=9.5, color=SOFT, va='top')
    label(ax, 11.78, 2.1, 'patch', size=9, color=SOFT, rotation=90)
    label(ax, 12.6, 2.92, 'time step', size=9, color=SOFT)


def draw_legend(ax):
    """What the colours mean."""
    for y, face, edge, text in (
        (9.6, FROZEN, FROZEN_EDGE, 'frozen, pretrained'),
        (9.25, TRAINED, TRAINED_EDGE, 'trained'),
        (8.9, INK, INK, 'prefix tokens'),
    ):
        box(ax, 0.75, y, 0.34, 0.2, face=face, edge=edge)
        label(ax, 1.05, y, text, size=10, ha='left')


def main() -> None:
    """Draw and save."""
    plt.rcParams['font.family'] = 'DejaVu Sans'
    figure, ax = plt.subplots(figsize=(14.6, 8.9), dpi=150)
    ax.set_position((0, 0, 1, 1))
    draw_inputs(ax)
    draw_layer(ax)
    draw_head(ax)
    ax.plot([11.2, 11.2], [-0.1, 9.7], color='#dde3e8', linewidth=1.5)
    draw_link_inside(ax)
    draw_axes(ax)
    draw_legend(ax)
    ax.set_xlim(0.2, 16.9)
    ax.set_ylim(-0.35, 9.9)
    ax.set_aspect('equal')
    ax.axis('off')
    path = Path(__file__).with_name('idea.png')
    figure.savefig(path, facecolor='white')
    print(f'wrote {path}')


if __name__ == '__main__':
    main()
