# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The findings as data and as text."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from .probe import Limits, Probe
from .samples import KINDS, Fault, Sample

_SHOWN = 20  # faults of a kind in the text


class Report(NamedTuple):
    """Everything that was found.

    Attributes:
        samples: All rows.
        probes: What was found in each, in the same order.
        faults: All faults, those of whole sets included.
        limits: What was tolerated.
    """

    samples: Sequence[Sample]
    probes: Sequence[Probe]
    faults: Sequence[Fault]
    limits: Limits

    def counts(self) -> dict[str, int]:
        """Number of faults by kind, in the order of ``KINDS``."""
        found = Counter(fault.kind for fault in self.faults)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def splits(self) -> dict[str, dict]:
        """Size, length and audio sample rates (Hz -> samples) by split."""
        splits: dict[str, dict] = {}
        for sample, probe in zip(self.samples, self.probes, strict=True):
            entry = splits.setdefault(
                sample.split, dict(samples=0, hours=0.0, sample_rates={})
            )
            entry['samples'] += 1
            entry['hours'] += (probe.seconds or 0.0) / 3600
            if probe.sample_rate:
                rates = entry['sample_rates']
                rates[probe.sample_rate] = rates.get(probe.sample_rate, 0) + 1
        return splits

    def warnings(self) -> list[str]:
        """What is no fault of a sample, but worth a look."""
        found = []
        rates = {p.sample_rate for p in self.probes if p.sample_rate}
        if len(rates) > 1:
            found.append(
                f'audio has {len(rates)} sample rates, from {min(rates)} to '
                f'{max(rates)} Hz: resample it with LoadAudio(sample_rate='
                '16000), the rate of published AST weights'
            )
        several = [
            f'{sample.path} ({"; ".join(probe.streams)})'
            for sample, probe in zip(self.samples, self.probes, strict=True)
            if probe.streams
        ]
        if several:
            found.append(
                f'{len(several)} files have several video or audio streams, '
                f'such as {several[0]}'
            )
        first: dict[str, Sample] = {}
        copies = [
            sample.path
            for sample, probe in zip(self.samples, self.probes, strict=True)
            if probe.print
            and (other := first.setdefault(probe.print, sample))
            and other.path != sample.path
            and other.labels != sample.labels
        ]
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

    def class_counts(self) -> dict[str, dict[str, Counter]]:
        """How often each class occurs, by label column and split."""
        counts: dict[str, dict[str, Counter]] = {}
        for sample in self.samples:
            for column, label in sample.labels.items():
                by_split = counts.setdefault(column, {})
                by_split.setdefault(sample.split, Counter())[label] += 1
        return counts


def rates_text(rates: dict[int, int]) -> str:
    """Sample rates of a split, for example ``16000 Hz (12), 48000 Hz (3)``.

    Args:
        rates: Number of samples by rate.
    """
    return ', '.join(f'{rate} Hz ({rates[rate]})' for rate in sorted(rates))


def as_dict(report: Report) -> dict:
    """The report for JSON, without images.

    Args:
        report: The findings.
    """
    rows = []
    for sample, probe in zip(report.samples, report.probes, strict=True):
        row = sample._asdict() | probe._asdict()
        row.pop('thumbnail')
        rows.append(row)
    classes = {
        column: {
            split: {str(label): n for label, n in sorted(counter.items())}
            for split, counter in by_split.items()
        }
        for column, by_split in report.class_counts().items()
    }
    return dict(
        limits=report.limits._asdict(),
        counts=report.counts(),
        splits=report.splits(),
        warnings=report.warnings(),
        faults=[fault._asdict() for fault in report.faults],
        classes=classes,
        samples=rows,
    )


def as_text(report: Report) -> str:
    """The report for the screen.

    Args:
        report: The findings.
    """
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
