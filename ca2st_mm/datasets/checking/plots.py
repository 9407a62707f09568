# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Plots of a report, as PNG in base64."""

import base64
import io

import numpy as np
from matplotlib.figure import Figure

from .report import Report

_SIZE = (5.2, 2.8)  # inches
_QUIETEST = -80.0  # dB; the left edge of the plot


def plots_of(report: Report) -> list[tuple[str, str]]:
    """Lengths of clips, loudness, and classes by split.

    Args:
        report: The findings.

    Returns:
        Title and picture of each; those without data are left out.
    """
    plots = []
    seconds = _by_split(report, lambda probe: probe.seconds)
    if seconds:
        plots.append(('Length of clips', _histogram(seconds, 'seconds')))
    peaks = _by_split(report, _decibels)
    if peaks:
        plots.append(('Loudest sample', _histogram(peaks, 'dB of full scale')))
    for column, by_split in report.class_counts().items():
        size = 1 + max(max(counter) for counter in by_split.values())
        bars = {
            split: [counter[label] for label in range(size)]
            for split, counter in by_split.items()
        }
        plots.append((f'Samples of each {column}', _bars(bars, column)))
    return plots


def _by_split(report: Report, value) -> dict[str, list[float]]:
    """Known values of all probes."""
    found: dict[str, list[float]] = {}
    for sample, probe in zip(report.samples, report.probes, strict=True):
        number = value(probe)
        if number is not None:
            found.setdefault(sample.split, []).append(number)
    return found


def _decibels(probe) -> float:
    if probe.peak is None:
        return None
    return max(20 * np.log10(max(probe.peak, 1e-9)), _QUIETEST)


def _histogram(values: dict[str, list[float]], unit: str) -> str:
    figure, axes = _axes(unit, 'samples')
    axes.hist(list(values.values()), bins=30, label=list(values))
    axes.legend()
    return _png(figure)


def _bars(values: dict[str, list[int]], column: str) -> str:
    figure, axes = _axes(f'{column} index', 'samples')
    width = 0.8 / len(values)
    for number, (split, heights) in enumerate(values.items()):
        places = np.arange(len(heights)) + (number + 0.5) * width - 0.4
        axes.bar(places, heights, width, label=split)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    return _png(figure)


def _axes(x: str, y: str) -> tuple:
    figure = Figure(figsize=_SIZE, layout='constrained')
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[['top', 'right']].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()
