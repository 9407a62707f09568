# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The report as one HTML page that needs no other file."""

import base64
import io
from collections.abc import Callable
from html import escape

import numpy as np
from matplotlib.figure import Figure

from .probe import Probe
from .report import Report, rates_text
from .samples import KINDS, Sample

_MAX_ROWS = 500
_MAX_THUMBNAILS = 24
_SIZE = (5.2, 2.8)  # of a plot, inches
_QUIETEST = -80.0  # dB; the left edge of the plot of loudness

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; color: #1c2330; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; vertical-align: top;
  border-bottom: 1px solid #dde2ea; overflow-wrap: anywhere; }
th { background: #f3f5f9; }
.good { color: #14683a; } .bad { color: #a3231b; font-weight: 600; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .8rem; max-width: 128px;
  overflow-wrap: anywhere; }
.plots figure { width: calc(50% - .5rem); }
.plots img { max-width: 100%; }
"""


def as_html(report: Report) -> str:
    """The page.

    Args:
        report: The findings.
    """
    count = len(report.faults)
    verdict = '<p class="good">No faults.</p>'
    if count:
        noun = 'fault' if count == 1 else 'faults'
        verdict = f'<p class="bad">{count} {noun}.</p>'
    warnings = ''.join(
        f'<p class="bad">{escape(text)}</p>' for text in report.warnings()
    )
    splits = [
        [
            escape(split),
            str(entry['samples']),
            f'{entry["hours"]:.2f}',
            rates_text(entry['sample_rates']),
        ]
        for split, entry in report.splits().items()
    ]
    kinds = [
        [kind, str(number), escape(KINDS[kind])]
        for kind, number in report.counts().items()
    ]
    body = [
        '<h1>Data check</h1>',
        verdict,
        warnings,
        '<h2>Splits</h2>',
        _table(['split', 'samples', 'hours', 'audio'], splits),
        '<h2>Kinds of faults</h2>' if kinds else '',
        _table(['kind', 'count', 'meaning'], kinds) if kinds else '',
        _plots(report),
        _faults(report),
        _gallery(report),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<title>Data check</title><style>{_STYLE}</style></head>'
        f'<body>{"".join(body)}</body></html>'
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A table; cells are HTML already."""
    top = ''.join(f'<th>{cell}</th>' for cell in head)
    body = ''.join(
        '<tr>' + ''.join(f'<td>{cell}</td>' for cell in row) + '</tr>'
        for row in rows
    )
    return f'<table><tr>{top}</tr>{body}</table>'


def _faults(report: Report) -> str:
    if not report.faults:
        return ''
    thumbnails = {
        (sample.split, sample.path): _image(probe.thumbnail)
        for sample, probe in zip(report.samples, report.probes, strict=True)
    }
    rows = [
        [
            thumbnails.get((fault.split, fault.path), ''),
            *map(escape, (fault.kind, fault.split, fault.path, fault.detail)),
        ]
        for fault in report.faults[:_MAX_ROWS]
    ]
    more = len(report.faults) - len(rows)
    note = f'<p>{more} more are in the JSON file.</p>' if more else ''
    head = ['', 'kind', 'split', 'file', 'detail']
    return '<h2>Faults</h2>' + _table(head, rows) + note


def _image(thumbnail: str) -> str:
    if not thumbnail:
        return ''
    return f'<img alt="" src="data:image/jpeg;base64,{thumbnail}">'


def _gallery(report: Report) -> str:
    """Evenly chosen samples that have a thumbnail."""
    seen = [
        (sample, probe)
        for sample, probe in zip(report.samples, report.probes, strict=True)
        if probe.thumbnail
    ]
    if not seen:
        return ''
    step = max(len(seen) // _MAX_THUMBNAILS, 1)
    figures = ''.join(
        _figure(*pair) for pair in seen[::step][:_MAX_THUMBNAILS]
    )
    return f'<h2>Some samples</h2><div class="row">{figures}</div>'


def _figure(sample: Sample, probe: Probe) -> str:
    labels = ', '.join(f'{k} {v}' for k, v in sample.labels.items())
    name = escape(sample.path.rsplit('/', maxsplit=1)[-1])
    caption = f'{name}<br>{escape(labels)}, {probe.seconds:.1f} s'
    return (
        f'<figure>{_image(probe.thumbnail)}'
        f'<figcaption>{caption}</figcaption></figure>'
    )


def _plots(report: Report) -> str:
    """Lengths of clips, loudness, and classes by split."""
    plots = {}
    seconds = _by_split(report, lambda probe: probe.seconds)
    if seconds:
        plots['Length of clips'] = _histogram(seconds, 'seconds')
    peaks = _by_split(report, lambda probe: probe.peak)
    if peaks:
        decibels = {
            split: np.maximum(20 * np.log10(np.maximum(v, 1e-9)), _QUIETEST)
            for split, v in peaks.items()
        }
        plots['Loudest audio sample'] = _histogram(decibels, 'dB full scale')
    for column, by_split in report.class_counts().items():
        figure, axes = _axes(f'{column} index', 'samples')
        places = np.arange(1 + max(map(max, by_split.values())))
        width = 0.8 / len(by_split)
        for number, (split, counter) in enumerate(by_split.items()):
            heights = [counter[label] for label in places]
            left = places + (number + 0.5) * width - 0.4
            axes.bar(left, heights, width, label=split)
        axes.xaxis.get_major_locator().set_params(integer=True)
        plots[f'Samples of each {column}'] = _png(figure, axes)
    images = ''.join(
        f'<figure><img alt="{escape(title)}" '
        f'src="data:image/png;base64,{data}"><br>{escape(title)}</figure>'
        for title, data in plots.items()
    )
    return f'<h2>Overview</h2><div class="row plots">{images}</div>'


def _by_split(
    report: Report, value: Callable[[Probe], float | None]
) -> dict[str, list[float]]:
    """Known values of all probes."""
    found: dict[str, list[float]] = {}
    for sample, probe in zip(report.samples, report.probes, strict=True):
        number = value(probe)
        if number is not None:
            found.setdefault(sample.split, []).append(number)
    return found


def _histogram(values: dict, unit: str) -> str:
    figure, axes = _axes(unit, 'samples')
    axes.hist(list(values.values()), bins=30, label=list(values))
    return _png(figure, axes)


def _axes(x: str, y: str) -> tuple:
    figure = Figure(figsize=_SIZE, layout='constrained')
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[['top', 'right']].set_visible(False)
    return figure, axes


def _png(figure: Figure, axes) -> str:
    """A plot as PNG in base64."""
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()
