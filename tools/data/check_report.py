# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The findings as data, as text, and as one HTML page."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from check_lists import KINDS, Fault, Sample
from check_media import Limits, Probe
from jinja2 import Environment
from matplotlib.axes import Axes

from ca2st_mm.visualization.style import new_figure, tidy

_SHOWN = 20  # faults of a kind in the text
_MAX_FAULTS = 500  # on the page
_MAX_THUMBNAILS = 24
_QUIETEST = 1e-4  # -80 dB, the left edge of the plot of loudness


class Report(NamedTuple):
    """Everything that was found; faults include those of whole sets."""

    pairs: Sequence[tuple[Sample, Probe]]
    faults: Sequence[Fault]
    limits: Limits
    missing_audio: str | None = None  # what the config does about it
    resampled: bool = False  # whether it brings all audio to one rate

    def counts(self) -> dict[str, int]:
        """Number of faults by kind, in the order of ``KINDS``."""
        found = Counter(fault.kind for fault in self.faults)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def splits(self) -> dict[str, dict]:
        """Size, length and audio sample rates (Hz -> samples) by split."""
        splits = {}
        for split in dict.fromkeys(sample.split for sample, _ in self.pairs):
            probes = [p for sample, p in self.pairs if sample.split == split]
            rates = Counter(p.sample_rate for p in probes if p.sample_rate)
            hours = sum(p.seconds or 0.0 for p in probes) / 3600
            splits[split] = dict(
                samples=len(probes), hours=hours, sample_rates=rates
            )
        return splits

    def class_counts(self) -> dict[str, dict[str, Counter]]:
        """How often each class occurs, by label column and split."""
        counts: dict[str, dict[str, Counter]] = {}
        for sample, _ in self.pairs:
            for column, label in sample.labels.items():
                by_split = counts.setdefault(column, {})
                by_split.setdefault(sample.split, Counter())[label] += 1
        return counts

    def warnings(self) -> list[str]:
        """What is no fault of a sample, but worth a look."""
        found = []
        probes = [probe for _, probe in self.pairs]
        lacking = sum(
            kind == 'no_audio' for p in probes for kind, _ in p.faults
        )
        if lacking and self.missing_audio in ('drop', 'silence'):
            found.append(
                f'{lacking} of {len(probes)} clips have no audio; the '
                f"config says missing_audio='{self.missing_audio}'"
            )
        rates = {p.sample_rate for p in probes if p.sample_rate}
        if len(rates) > 1 and not self.resampled:
            found.append(
                f'audio has {len(rates)} sample rates, from {min(rates)} to '
                f'{max(rates)} Hz: resample it with LoadAudio(sample_rate='
                '16000), the rate of published AST weights'
            )
        several = [
            f'{sample.path} ({"; ".join(probe.streams)})'
            for sample, probe in self.pairs
            if probe.streams
        ]
        if several:
            found.append(
                f'{len(several)} files have several video or audio streams, '
                f'such as {several[0]}'
            )
        first: dict[str, Sample] = {}
        copies = []
        for sample, probe in self.pairs:
            other = first.setdefault(probe.print, sample)
            if (
                probe.print
                and other.path != sample.path
                and other.labels != sample.labels
            ):
                copies.append(sample.path)
        if copies:
            found.append(
                f'{len(copies)} files are copies of others with another '
                f'label, such as {copies[0]}'
            )
        for column, by_split in self.class_counts().items():
            if len(set().union(*by_split.values())) == 1:
                found.append(
                    f'all samples have the same {column}: there is nothing '
                    'to learn'
                )
        return found


def rates_text(rates: dict[int, int]) -> str:
    """Sample rates of a split.

    >>> rates_text({16000: 12, 48000: 3})
    '16000 Hz (12), 48000 Hz (3)'
    """
    return ', '.join(f'{rate} Hz ({rates[rate]})' for rate in sorted(rates))


def as_dict(report: Report) -> dict:
    """The report for JSON, without images."""
    rows = [s._asdict() | vars(p) for s, p in report.pairs]
    for row in rows:
        del row['thumbnail']
    return dict(
        limits=report.limits._asdict(),
        counts=report.counts(),
        splits=report.splits(),
        warnings=report.warnings(),
        faults=[fault._asdict() for fault in report.faults],
        classes=report.class_counts(),
        samples=rows,
    )


def as_text(report: Report) -> str:
    """The report for the screen."""
    lines = []
    for split, entry in report.splits().items():
        rates = rates_text(entry['sample_rates'])
        lines.append(
            f'{split}: {entry["samples"]} samples, {entry["hours"]:.2f} h'
            + (f', audio at {rates}' if rates else '')
        )
    if not report.limits.decode:
        lines.append('headers only: add --decode to find damaged content')
    lines += [f'warning: {text}' for text in report.warnings()]
    if not report.faults:
        return '\n'.join([*lines, 'no faults'])
    for kind, count in report.counts().items():
        lines.append(f'{count} x {kind}: {KINDS[kind]}')
        faults = [fault for fault in report.faults if fault.kind == kind]
        lines += [
            '    ' + ' | '.join(filter(None, (f.split, f.path, f.detail)))
            for f in faults[:_SHOWN]
        ]
        if count > _SHOWN:
            lines.append(f'    ... and {count - _SHOWN} more in the JSON')
    return '\n'.join(lines)


def as_html(report: Report) -> str:
    """The report as one page that needs no other file."""
    seen = [pair for pair in report.pairs if pair[1].thumbnail]
    step = max(len(seen) // _MAX_THUMBNAILS, 1)
    text = Path(__file__).with_suffix('.html').read_text('utf-8')
    return (
        Environment(autoescape=True)
        .from_string(text)
        .render(
            report=report,
            kinds=KINDS,
            rates_text=rates_text,
            plots=_plots(report),
            thumbnails={(s.split, s.path): p.thumbnail for s, p in seen},
            gallery=seen[::step][:_MAX_THUMBNAILS],
            max_faults=_MAX_FAULTS,
        )
    )


def _plots(report: Report) -> dict[str, str]:
    """Lengths of clips, loudness, and classes by split: PNG in base64."""
    plots, seconds, decibels = {}, {}, {}
    for sample, probe in report.pairs:
        if probe.seconds is not None:
            seconds.setdefault(sample.split, []).append(probe.seconds)
        if probe.peak is not None:
            decibel = 20 * np.log10(max(probe.peak, _QUIETEST))
            decibels.setdefault(sample.split, []).append(decibel)
    for title, unit, values in (
        ('Length of clips', 'seconds', seconds),
        ('Loudest audio sample', 'dB full scale', decibels),
    ):
        if values:
            axes = tidy(new_figure(5.2, 2.8).subplots(), unit, 'samples')
            axes.hist(list(values.values()), bins=30, label=list(values))
            plots[title] = _png(axes)
    for column, by_split in report.class_counts().items():
        axes = new_figure(5.2, 2.8).subplots()
        tidy(axes, f'{column} index', 'samples')
        places = np.arange(1 + max(map(max, by_split.values())))
        width = 0.8 / len(by_split)
        for number, (split, counter) in enumerate(by_split.items()):
            heights = [counter[label] for label in places]
            left = places + (number + 0.5) * width - 0.4
            axes.bar(left, heights, width, label=split)
        axes.xaxis.get_major_locator().set_params(integer=True)
        plots[f'Samples of each {column}'] = _png(axes)
    return plots


def _png(axes: Axes) -> str:
    axes.legend()
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, format='png', dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()
