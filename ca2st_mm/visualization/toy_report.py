# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Tables and pictures of the toy demo."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import decord
import matplotlib
import numpy as np
from mmengine.fileio import load

from ca2st_mm.datasets.media import read_sound
from ca2st_mm.datasets.toy_world import DIRECTIONS, PITCHES, SHAPES
from ca2st_mm.datasets.transforms import LogMelSpectrogram

from .style import GREY, TEAL

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402


def accuracy_from_dump(path: str | Path) -> float:
    """Top-1 accuracy of what ``tools/test.py --dump`` wrote."""
    samples = load(str(path))
    hits = [
        int(s['pred_score'].argmax()) == int(s['gt_label']) for s in samples
    ]
    return float(np.mean(hits))


def ceilings() -> dict[str, float]:
    """Best possible top-1 accuracy of each toy model."""
    no_sound = 1 / len(PITCHES)
    unordered = 1 / len(DIRECTIONS)
    return {
        'clip': unordered * no_sound,
        'videomae': no_sound,
        'ast': 1 / (len(SHAPES) * len(DIRECTIONS)),
        'cast': no_sound,
        'cava': unordered,
        'ca2st': 1.0,
        'ca2st, shuffled sound': no_sound,
    }


def format_table(
    results: Mapping[str, float], bounds: Mapping[str, float]
) -> str:
    """A text table of accuracies beside their ceilings."""
    rows = [f'{"model":<24}{"top-1":>8}{"ceiling":>10}']
    rows += [
        f'{name:<24}{value:>8.1%}{bounds[name]:>10.1%}'
        for name, value in results.items()
    ]
    return '\n'.join(rows)


def draw_comparison(
    results: Mapping[str, float],
    bounds: Mapping[str, float],
    path: str | Path,
) -> None:
    """Bars of the accuracies, each in front of its ceiling."""
    names = list(results)
    height = 1.2 + 0.45 * len(names)
    figure, axes = plt.subplots(figsize=(7, height), layout='constrained')
    rows = np.arange(len(names))[::-1]
    limits = [bounds[name] for name in names]
    values = [results[name] for name in names]
    axes.barh(rows, limits, 0.7, color=GREY, label='ceiling')
    axes.barh(rows, values, 0.35, color=TEAL, label='measured')
    for row, value, limit in zip(rows, values, limits, strict=True):
        axes.text(
            max(value, limit) + 0.01,
            row,
            f'{value:.1%} (ceiling {limit:.1%})',
            va='center',
            fontsize=9,
        )
    axes.set_yticks(rows, names)
    axes.set_xlim(0, 1.4)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_xlabel('top-1 accuracy on held-out toy clips')
    axes.spines[['top', 'right']].set_visible(False)
    figure.legend(loc='outside upper right', ncols=2, frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_prediction(
    clip: str | Path, ranked: Sequence[tuple[float, str]], path: str | Path
) -> None:
    """Frames, spectrogram and the best scores of one clip.

    Args:
        clip: Video file with sound.
        ranked: (score, name) of the best classes, best first.
        path: PNG to write.
    """
    reader = decord.VideoReader(str(clip))
    picks = np.linspace(0, len(reader) - 1, 8).astype(int)
    frames = reader.get_batch(list(picks)).asnumpy()
    sound = read_sound(str(clip))
    front_end = LogMelSpectrogram(num_mels=64)
    mels = front_end.features(sound.waveform, sound.sample_rate)
    figure = plt.figure(figsize=(9, 5.2), layout='constrained')
    grid = figure.add_gridspec(3, 8, height_ratios=(1.1, 1, 1.2))
    for column, (index, frame) in enumerate(zip(picks, frames, strict=True)):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(frame)
        axes.set_title(f'{index / reader.get_avg_fps():.2f} s', fontsize=8)
        axes.axis('off')
    axes = figure.add_subplot(grid[1, :])
    seconds = len(mels) / 100
    axes.imshow(
        mels.T,
        origin='lower',
        aspect='auto',
        extent=(0, seconds, 0, mels.shape[1]),
        cmap='magma',
    )
    axes.set_ylabel('mel band')
    axes.set_xlabel('seconds')
    axes = figure.add_subplot(grid[2, :])
    scores = [score for score, _ in ranked]
    rows = np.arange(len(ranked))[::-1]
    axes.barh(rows, scores, color=[TEAL] + [GREY] * (len(ranked) - 1))
    for row, score in zip(rows, scores, strict=True):
        axes.text(score + 0.01, row, f'{score:.1%}', va='center', fontsize=9)
    axes.set_yticks(rows, [name for _, name in ranked])
    axes.set_xlim(0, 1.1)
    axes.set_xlabel('score')
    axes.spines[['top', 'right']].set_visible(False)
    figure.suptitle(Path(clip).name)
    figure.savefig(path, dpi=130)
    plt.close(figure)
